// The library oauth4webapi, which leaves no step out of sight and forgives
// nothing that a specification forbids.
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'
import { did, end, given, open } from './talk.mjs'

const { person, callback, bye } = given
const insecure = { [oauth.allowInsecureRequests]: true } // http://localhost
const issuer = new URL(given.issuer)

for (const algorithm of ['oidc', 'oauth2']) {
  const found = await oauth.discoveryRequest(issuer, { algorithm, ...insecure })
  await oauth.processDiscoveryResponse(issuer, found)
  did(`discovery, ${algorithm}`)
}
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure))

async function signIn(client, auth, more = {}) {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const nonce = oauth.generateRandomNonce()
  const url = new URL(as.authorization_endpoint)
  url.search = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: callback,
    response_type: 'code',
    scope: 'openid profile email offline_access',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    ...more,
  })
  const back = await open(url)
  // Here it insists on iss (RFC 9207), because the metadata promise it.
  const answer = oauth.validateAuthResponse(as, client, back instanceof Request ? new URLSearchParams(await back.text()) : back, state)
  const response = await oauth.authorizationCodeGrantRequest(as, client, auth, answer, callback, verifier, insecure)
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, response, {
    expectedNonce: nonce,
    requireIdToken: true,
    ...(more.max_age ? { maxAge: Number(more.max_age) } : {}),
  })
  await oauth.validateApplicationLevelSignature(as, response, insecure)
  assert.equal(oauth.getValidatedIdTokenClaims(tokens).sub, person.sub)
  return tokens
}

async function introspect(client, auth, token) {
  const response = await oauth.introspectionRequest(as, client, auth, token, { requestJwtResponse: true, ...insecure })
  assert.match(response.headers.get('content-type'), /^application\/token-introspection\+jwt/)
  const about = await oauth.processIntrospectionResponse(as, client, response)
  await oauth.validateApplicationLevelSignature(as, response, insecure)
  return about
}

async function everything(kind, client, auth, more) {
  const first = await signIn(client, auth, more)
  did(`${kind}: code and PKCE`)

  const info = await oauth.processUserInfoResponse(
    as,
    client,
    person.sub,
    await oauth.userInfoRequest(as, client, first.access_token, insecure),
  )
  assert.equal(info.email, person.email)
  did(`${kind}: userinfo`)

  const refreshed = await oauth.refreshTokenGrantRequest(as, client, auth, first.refresh_token, insecure)
  const tokens = await oauth.processRefreshTokenResponse(as, client, refreshed)
  await oauth.validateApplicationLevelSignature(as, refreshed, insecure)
  assert.notEqual(tokens.refresh_token, first.refresh_token)
  did(`${kind}: refresh`)

  const claims = await oauth.validateJwtAccessToken(
    as,
    new Request('https://api.example.org/', { headers: { authorization: `Bearer ${tokens.access_token}` } }),
    given.issuer,
    insecure,
  )
  assert.equal(claims.sub, person.sub)
  did(`${kind}: access token as a JWT`)

  if (client.token_endpoint_auth_method !== 'none') {
    const about = await introspect(client, auth, tokens.access_token)
    assert.equal(about.active, true)
    assert.equal(about.sub, person.sub)
    did(`${kind}: signed introspection`)
  }
  await oauth.processRevocationResponse(
    await oauth.revocationRequest(as, client, auth, tokens.refresh_token, insecure),
  )
  if (client.token_endpoint_auth_method !== 'none') {
    assert.equal((await introspect(client, auth, tokens.access_token)).active, false)
  }
  did(`${kind}: revocation`)

  const out = new URL(as.end_session_endpoint)
  out.search = new URLSearchParams({ id_token_hint: first.id_token, post_logout_redirect_uri: bye })
  assert.equal((await open(out)).href, bye)
  await assert.rejects(signIn(client, auth, { prompt: 'none' }), { error: 'login_required' })
  did(`${kind}: end of the session`)
}

const { spa, basic, signer } = given.clients
// RS256 is what introspection is signed with where nothing is registered (RFC 9701
// section 6).
const es256 = { id_token_signed_response_alg: 'ES256', introspection_signed_response_alg: 'RS256' }
await everything(
  'public, form_post',
  { client_id: spa.client_id, token_endpoint_auth_method: 'none', ...es256 },
  oauth.None(),
  { response_mode: 'form_post' },
)
await everything('client_secret_basic', { client_id: basic.client_id, ...es256 }, oauth.ClientSecretBasic(basic.client_secret), {
  max_age: '300',
})

const key = await crypto.subtle.importKey('jwk', given.key, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
await everything('private_key_jwt', { client_id: signer.client_id, ...es256 }, oauth.PrivateKeyJwt({ key, kid: given.key.kid }))
end()
