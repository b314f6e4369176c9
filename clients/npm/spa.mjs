// An app of scripts alone, with oidc-client-ts. What it knows stands in #state,
// as JSON.
const settings = await (await fetch('/settings')).json()
const manager = new oidc.UserManager({
  ...settings,
  response_type: 'code',
  scope: 'openid profile email offline_access',
  loadUserInfo: true,
  automaticSilentRenew: false,
  monitorSession: false,
})
let turn = 0

function show(state) {
  document.getElementById('state').textContent = JSON.stringify({ turn, ...state })
}

function signedIn(user) {
  show({
    sub: user.profile.sub,
    email: user.profile.email,
    name: user.profile.name,
    access: user.access_token,
    refresh: user.refresh_token,
  })
}

// does runs what a button is for, and shows what came of it.
function does(id, what) {
  document.getElementById(id).addEventListener('click', async () => {
    turn++
    try {
      const user = await what()
      if (user) signedIn(user)
    } catch (e) {
      show({ error: e.error ?? String(e) })
    }
  })
}

does('signin', () => manager.signinRedirect())
does('renew', () => manager.signinSilent())
does('revoke', async () => {
  await manager.revokeTokens()
  show({ revoked: true })
})
does('signout', () => manager.signoutRedirect())

// probe asks a server of another site whether it gets its cookie.
window.probe = async (url) => (await fetch(url, { credentials: 'include' })).text()

try {
  switch (location.pathname) {
    case '/callback':
      signedIn(await manager.signinRedirectCallback())
      break
    case '/bye':
      await manager.signoutRedirectCallback()
      show({ signedOut: true })
      break
    default:
      show({ signedOut: (await manager.getUser()) === null })
  }
} catch (e) {
  show({ error: e.error ?? String(e) })
}
