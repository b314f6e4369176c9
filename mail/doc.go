// Package mail brings letters from the outbox to the people they are for.
//
// A letter is sealed by [Sealer] before it becomes a row of the outbox, in the
// transaction it reports. [Relay] hands rows to a queue in Valkey (asynq) under
// their own ids and removes a row only when the queue says that the letter was
// delivered or has lost its point. [Worker] takes letters from the queue, opens
// them, writes them out and gives them to a [Sender]: [SMTP] or [SMTP2GO]. What
// no try can deliver stays in the outbox, marked as given up, for an operator.
//
// Delivery is at least once: a letter comes twice only after a crash, a wiped
// queue or an ambiguous reply of the mail server, and then under the same
// Message-ID. A letter past its deadline is not sent.
//
// What other servers are to be told, that somebody signed out, goes the same way
// through a queue of its own: [NewNoticeRelay] and [NoticeWorker]. What is told,
// and how, the caller knows.
//
// What letters say, in every language, stands in package text.
//
// The package knows no account and no database.
package mail
