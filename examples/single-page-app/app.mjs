// An app of scripts alone, whose people sign in with Gatehouse: the program of
// docs/quickstart/single-page-app.md.
const manager = new oidc.UserManager({
  authority: 'http://localhost:8080',
  client_id: 'notes-spa',
  redirect_uri: 'http://127.0.0.1:5173/callback',
  post_logout_redirect_uri: 'http://127.0.0.1:5173/',
  // The library makes the PKCE verifier and the state, and checks what comes back.
  response_type: 'code',
  // With offline_access there is a refresh token, and renewing needs neither a
  // frame nor a cookie of another site.
  scope: 'openid profile email offline_access',
  automaticSilentRenew: true,
  // The ID token says who it is; name and address are asked for.
  loadUserInfo: true,
  // Tokens live as long as this tab, and where no other tab can read them.
  userStore: new oidc.WebStorageStateStore({ store: sessionStorage }),
  monitorSession: false, // that is done with a frame and a cookie
})

const who = document.getElementById('who')
const show = (user) => {
  who.textContent = user ? `Hello, ${user.profile.name} <${user.profile.email}>.` : 'Nobody is signed in.'
}

// does runs what a button is for, and shows what went wrong.
const does = (id, what) =>
  document.getElementById(id).addEventListener('click', async () => {
    try {
      await what()
    } catch (e) {
      who.textContent = `It failed: ${e.message}`
    }
  })

does('signin', () => manager.signinRedirect())
does('renew', async () => {
  const user = await manager.signinSilent() // by the refresh token
  who.textContent = `New tokens for ${user.profile.name}, good for ${Math.round(user.expires_in / 60)} minutes.`
})
does('signout', () => manager.signoutRedirect())

try {
  if (location.pathname === '/callback') {
    const user = await manager.signinRedirectCallback()
    history.replaceState(null, '', '/') // the code is spent; nobody needs to see it
    show(user)
  } else {
    show(await manager.getUser())
  }
} catch (e) {
  who.textContent = `It failed: ${e.message}`
}
