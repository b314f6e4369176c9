// Package gatehouse is the map of Gatehouse, an OAuth 2.1 and OpenID Connect
// identity provider. It holds no code.
//
// In five sentences:
//
//  1. storage is the vocabulary: plain records and small contracts, saying what
//     is remembered where.
//  2. login proves who a person is; consent knows what they agreed to; keys owns
//     signing; denylist knows which tokens are stopped; none of them knows HTTP
//     or OAuth.
//  3. provider speaks OAuth and OpenID Connect and is the only package that has
//     heard of fosite, the protocol engine.
//  4. web and api are two faces of these engines: gin and HTML in one, gRPC in
//     the other.
//  5. cmd/gatehouse/serve.go builds everything, once, in one function.
//
// A package imports lower rows of this table only, never sideways or up, and
// only where the lines below it say so. The test in layers_test.go holds it.
//
//	row 4   cmd/gatehouse                              cmd/worker     commands
//	row 3   web            api                                      faces
//	row 2   provider       login                                    rules
//	row 1   consent    denylist    keys    egress      mail         parts
//	row 0   storage, its drivers, migrations           text         memory, sentences
//
//	web                     imports provider, login, consent, denylist, storage, text
//	api                     imports provider, login, consent, denylist, storage
//	provider                imports consent, denylist, egress, keys, storage
//	login, consent,
//	denylist, keys          import storage
//	the drivers             import storage and migrations, and are imported by
//	                        commands alone
//	mail                    imports text
//	egress, text, storage   import nothing of ours
//	cmd/gatehouse           imports all; cmd/worker imports mail
//
// Below all rows are internal/meter, instruments whose use allocates nothing, which
// any of them may count with, and internal/telemetry, which tells a collector what a
// process does: commands alone open it, and hand tracers and meters down. web/render
// executes pages that html/template has escaped. examples are apps of others. deploy
// is the production shape as files, docs the pages; their tests start the one and
// type the other.
//
// provider and login do not know each other. They meet in one record,
// storage.Session, which a face passes from one to the other; and because pages
// leave their results in storage, provider calls back into nobody.
//
// Third parties are confined too: fosite to provider, gin to web, pgx to the
// database drivers and migrations, valkey-go to its driver, asynq to mail,
// go-jose to keys and provider. To replace one is to change one folder.
//
// Where to start reading: storage/storage.go for what is remembered, then
// login/step.go and provider/need.go, the two decisions that everything hangs
// from, then cmd/gatehouse/serve.go for how it is put together. Decisions and
// their alternatives are in docs/decisions, differences from the letter of the
// specifications in docs/divergences.md.
package gatehouse
