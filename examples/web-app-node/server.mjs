// A web app whose people sign in with Gatehouse: the program of
// docs/quickstart/web-app.md for Node.
//
//   CLIENT_SECRET=… node server.mjs
import { createServer } from 'node:http'
import { randomUUID } from 'node:crypto'
import * as oidc from 'openid-client'

// What was registered, and where this app is.
const issuer = new URL('http://localhost:8080')
const self = 'http://localhost:3000'

const provider = await oidc.discovery(
  issuer,
  'notes',
  { id_token_signed_response_alg: 'ES256' },
  oidc.ClientSecretBasic(process.env.CLIENT_SECRET),
  { execute: [oidc.allowInsecureRequests] }, // for http://localhost alone: leave it out elsewhere
)

// Sign-ins that have begun, and sessions, by the values of their cookies. In
// earnest they are in a database, and attempts are deleted after some minutes.
const attempts = new Map()
const sessions = new Map()

const routes = {
  'GET /'(req, res) {
    const who = sessions.get(cookie(req, 'session'))
    res.setHeader('content-type', 'text/html; charset=utf-8')
    res.end(
      who
        ? `<!doctype html><title>Notes</title><p>Hello, ${escape(who.name)} &lt;${escape(who.email)}&gt;.</p>
           <form method="post" action="/logout"><button>Sign out</button></form>`
        : '<!doctype html><title>Notes</title><p>Nobody is signed in.</p><a href="/login">Sign in</a>',
    )
  },

  // Sends the browser to the provider.
  async 'GET /login'(req, res) {
    const attempt = { state: oidc.randomState(), nonce: oidc.randomNonce(), verifier: oidc.randomPKCECodeVerifier() }
    setCookie(res, 'attempt', keep(attempts, attempt))
    redirect(
      res,
      oidc.buildAuthorizationUrl(provider, {
        redirect_uri: self + '/callback',
        scope: 'openid profile email',
        state: attempt.state,
        nonce: attempt.nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(attempt.verifier),
        code_challenge_method: 'S256',
      }),
    )
  },

  // Where the provider sends the browser back to. The library checks state and
  // iss in the address, and signature, issuer, audience, expiry and nonce of the
  // ID token.
  async 'GET /callback'(req, res, url) {
    const id = cookie(req, 'attempt')
    const attempt = attempts.get(id)
    attempts.delete(id) // each is good for one answer
    if (!attempt) throw new Error('This browser has not begun to sign in.')
    const tokens = await oidc.authorizationCodeGrant(provider, url, {
      expectedState: attempt.state,
      expectedNonce: attempt.nonce,
      pkceCodeVerifier: attempt.verifier,
      idTokenExpected: true,
    })
    // The ID token says who it is, for ever: sub. Name and address may change, and
    // are asked for (UserInfo).
    const { sub } = tokens.claims()
    const { name, email } = await oidc.fetchUserInfo(provider, tokens.access_token, sub)
    setCookie(res, 'session', keep(sessions, { sub, name, email, idToken: tokens.id_token }))
    redirect(res, '/')
  },

  // Ends the session here, and then at the provider.
  'POST /logout'(req, res) {
    // A form on somebody else's page must not sign a person out here.
    if (req.headers.origin !== self) throw new Error('The form is not ours.')
    const id = cookie(req, 'session')
    const who = sessions.get(id)
    sessions.delete(id)
    const more = who ? { id_token_hint: who.idToken } : {}
    redirect(res, oidc.buildEndSessionUrl(provider, { ...more, post_logout_redirect_uri: self + '/' }))
  },
}

createServer(async (req, res) => {
  const url = new URL(req.url, self)
  const route = routes[`${req.method} ${url.pathname}`]
  try {
    if (route) await route(req, res, url)
    else res.writeHead(404).end('Not found')
  } catch (e) {
    console.error(e)
    res.writeHead(400).end('The sign-in failed: ' + (e.error_description ?? e.message))
  }
}).listen(new URL(self).port, 'localhost', () => console.log('listening at', self))

function keep(map, value) {
  const id = randomUUID()
  map.set(id, value)
  return id
}

function cookie(req, name) {
  const all = (req.headers.cookie ?? '').split('; ').map((pair) => pair.split('='))
  return Object.fromEntries(all)[name]
}

// Scripts cannot read these. In earnest they are Secure as well, and their names
// begin with __Host-.
function setCookie(res, name, value) {
  res.appendHeader('set-cookie', `${name}=${value}; Path=/; HttpOnly; SameSite=Lax`)
}

function redirect(res, to) {
  res.writeHead(303, { location: String(to) }).end()
}

function escape(text) {
  return String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
