// Package login takes a person from a claimed identity to a proven one.
//
// It knows nothing of HTML, HTTP, gRPC or OAuth. Every verb of [Engine] returns
// an [Outcome]: what the person must do next, or who they proved to be. A
// refusal that people may see is an [*Error]; any other error is a fault of
// ours.
//
// Which step comes next is decided in one place, next in step.go; the diagram
// in testdata/flow.mermaid is drawn from it. Every verb has the same body: load
// the flow for this step, count the use against its limit, check the proof,
// spend the flow, record, advance.
//
// What a stranger can ask for costs the same for every address: as many hashes
// and as many round trips to the database and to Valkey, whether there is an
// account or not. Where there is none, a decoy does the work and leads nowhere.
package login
