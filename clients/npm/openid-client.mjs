// The library openid-client as an app of each kind.
import assert from 'node:assert/strict'
import * as oidc from 'openid-client'
import { did, end, given, open, refused } from './talk.mjs'

const { issuer, person, callback, bye } = given
const insecure = { execute: [oidc.allowInsecureRequests] } // http://localhost
const scope = 'openid profile email offline_access'

// signIn is the code flow with PKCE, and more parameters if there are any.
async function signIn(config, more = {}) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const expectedState = oidc.randomState()
  const expectedNonce = oidc.randomNonce()
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: callback,
    scope,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
    ...more,
  })
  const tokens = await oidc.authorizationCodeGrant(config, await open(url), {
    pkceCodeVerifier,
    expectedState,
    expectedNonce,
    idTokenExpected: true,
  })
  assert.equal(tokens.claims().sub, person.sub)
  return tokens
}

// everything is what an app can do once somebody is signed in to it.
async function everything(kind, config, more) {
  let tokens = await signIn(config, more)
  did(`${kind}: code and PKCE`)

  const info = await oidc.fetchUserInfo(config, tokens.access_token, person.sub)
  assert.equal(info.email, person.email)
  did(`${kind}: userinfo`)

  const before = tokens
  tokens = await oidc.refreshTokenGrant(config, before.refresh_token)
  assert.notEqual(tokens.refresh_token, before.refresh_token)
  assert.equal(tokens.claims().sub, person.sub)
  did(`${kind}: refresh`)

  const confidential = config.clientMetadata().token_endpoint_auth_method !== 'none'
  if (confidential) {
    const about = await oidc.tokenIntrospection(config, tokens.access_token)
    assert.equal(about.active, true)
    assert.equal(about.sub, person.sub)
    assert.equal(about.client_id, config.clientMetadata().client_id)
    did(`${kind}: introspection`)
  }
  await oidc.tokenRevocation(config, tokens.refresh_token, { token_type_hint: 'refresh_token' })
  await refused('invalid_grant', oidc.refreshTokenGrant(config, tokens.refresh_token))
  if (confidential) {
    assert.deepEqual(await oidc.tokenIntrospection(config, tokens.access_token), { active: false })
  }
  did(`${kind}: revocation`)

  const away = await open(
    oidc.buildEndSessionUrl(config, {
      id_token_hint: before.id_token,
      post_logout_redirect_uri: bye,
      state: 'over',
    }),
  )
  assert.equal(away.href, `${bye}?state=over`)
  await refused('login_required', signIn(config, { prompt: 'none' }))
  did(`${kind}: end of the session`)
}

const url = new URL(issuer)
const es256 = { id_token_signed_response_alg: 'ES256' }
const { spa, basic, post, signer } = given.clients

await everything(
  'public',
  await oidc.discovery(url, spa.client_id, { ...es256, token_endpoint_auth_method: 'none' }, oidc.None(), insecure),
)
await everything(
  'client_secret_basic',
  await oidc.discovery(url, basic.client_id, es256, oidc.ClientSecretBasic(basic.client_secret), insecure),
)
await everything(
  'client_secret_post, form_post',
  await oidc.discovery(url, post.client_id, es256, oidc.ClientSecretPost(post.client_secret), insecure),
  { response_mode: 'form_post' },
)

const key = await crypto.subtle.importKey(
  'jwk',
  given.key,
  { name: 'ECDSA', namedCurve: 'P-256' },
  false,
  ['sign'],
)
await everything(
  'private_key_jwt',
  await oidc.discovery(url, signer.client_id, es256, oidc.PrivateKeyJwt({ key, kid: given.key.kid }), insecure),
)

// The library asks for RS256 unless it is told otherwise, as a registration that
// names no algorithm gets.
const registered = await oidc.dynamicClientRegistration(
  url,
  {
    client_name: 'Registered',
    redirect_uris: [callback],
    post_logout_redirect_uris: [bye],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'client_secret_post', // as it authenticates by itself
  },
  undefined,
  { ...insecure, initialAccessToken: given.initialAccessToken },
)
did('registration')
await everything('registered', registered)

const robot = await oidc.discovery(
  url,
  given.clients.robot.client_id,
  undefined,
  oidc.ClientSecretBasic(given.clients.robot.client_secret),
  insecure,
)
const mine = await oidc.clientCredentialsGrant(robot, { scope: 'reports' })
assert.equal(mine.token_type, 'bearer')
did('client_credentials')
end()
