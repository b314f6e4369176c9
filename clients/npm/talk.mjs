// How a script talks to the test that runs it: one line of JSON at a time. The
// test has the browser and the person; the script is the app.
import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

// given is what the test knows: the issuer, the clients, the person.
export const given = JSON.parse(process.env.GIVEN)

// open sends the person to an address. Where they come back to the app, that is
// the answer: a URL, or for a form a POST request.
export async function open(url) {
  console.log(JSON.stringify({ open: String(url) }))
  const { value, done } = await lines.next()
  assert(!done, 'the test has gone')
  const back = JSON.parse(value)
  if (!back.form) return new URL(back.url)
  return new Request(back.url, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: back.form,
  })
}

// did says what has been seen to work.
export function did(what) {
  console.log(JSON.stringify({ did: what }))
}

// refused expects an error of the provider.
export async function refused(code, promise) {
  await assert.rejects(promise, (e) => {
    assert.equal(e.error ?? e.cause?.error, code, String(e))
    return true
  })
}

// end ends the script, which would otherwise wait for the test.
export function end() {
  process.exit(0)
}
