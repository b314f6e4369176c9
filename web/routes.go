package web

import (
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/gatehouse-id/gatehouse/login"
)

// routes is every address of the server, in one place.
func (s *Web) routes() (http.Handler, error) {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.RedirectFixedPath = false
	e.ForwardedByClientIP = false
	if err := e.SetTrustedProxies(nil); err != nil {
		return nil, fmt.Errorf("web: trust no proxy: %w", err)
	}
	e.Use(s.recovered(s.fault), s.guard)
	e.NoRoute(s.always(http.StatusNotFound, "not_found"))
	e.NoMethod(s.always(http.StatusMethodNotAllowed, "method"))

	// The protocol, for apps. The provider knows the methods of each.
	app := e.Group("/", s.recovered(s.faultJSON))
	app.Any("/token", gin.WrapF(s.provider.Token))
	app.Any("/userinfo", gin.WrapF(s.provider.UserInfo))
	app.Any("/jwks", gin.WrapF(s.provider.JWKS))
	app.Any("/.well-known/openid-configuration", gin.WrapF(s.provider.Discovery))
	app.Any("/.well-known/oauth-authorization-server", gin.WrapF(s.provider.Discovery))

	// The protocol, for browsers.
	e.GET("/authorize", gin.WrapF(s.provider.Authorize))
	e.POST("/authorize", gin.WrapF(s.provider.Authorize))

	// The pages.
	get := func(path string, show func(*visit) error) {
		h := gin.WrapF(s.get(show))
		e.GET(path, h)
		e.HEAD(path, h)
	}
	post := func(path string, act func(*visit) error) { e.POST(path, gin.WrapF(s.post(path, act))) }
	get("/", s.home)
	get("/login", s.showLogin)
	post("/login", s.postLogin)
	get("/register", s.showRegister)
	post("/register", s.postRegister)
	get("/verify", s.showVerify)
	post("/verify", s.postVerify)
	get("/login/code", s.showCode)
	post("/login/code", s.postCode)
	get("/login/recovery", s.showRecovery)
	post("/login/recovery", s.postRecovery)
	get("/login/recovery/low", s.showRecoveryLow)
	post("/login/recovery/low", s.postRecoveryLow)
	get("/reset", s.showReset)
	post("/reset", s.postReset)
	get("/reset/verify", s.showResetVerify)
	post("/reset/verify", s.postResetVerify)
	get("/reset/password", s.showResetPassword)
	post("/reset/password", s.postResetPassword)
	get("/consent", s.showConsent)
	post("/consent", s.postConsent)
	get("/paused", s.showPaused)
	get("/limited", s.showLimited)
	own := func(path string, show, act func(*visit, login.Acting) error) {
		get(path, s.own(show))
		if act != nil {
			e.POST(path, gin.WrapF(s.postOwn(act)))
		}
	}
	own("/account", s.showAccount, nil)
	own("/account/password", s.showPassword, s.postPassword)
	own("/account/devices", s.showDevices, s.postDevices)
	own("/account/devices/others", s.showOtherDevices, s.postOtherDevices)
	own("/account/apps", s.showApps, nil)
	own("/account/apps/:id", s.showApp, nil)
	own("/account/apps/:id/remove", s.showRemoveApp, s.postRemoveApp)
	own("/account/activity", s.showActivity, nil)
	own("/account/confirm", s.showConfirm, s.postConfirm)
	own("/account/two-step", s.showTwoStep, nil)
	own("/account/two-step/app", s.showEnrol, s.postEnrol)
	get("/account/two-step/qr.svg", s.showQR)
	own("/account/two-step/off", s.showTwoStepOff, s.postTwoStepOff)
	own("/account/two-step/recovery", s.showCodes, s.postCodes)
	own("/account/two-step/recovery.txt", s.showCodesFile, nil)
	own("/account/two-step/recovery/new", s.showNewCodes, s.postNewCodes)
	get("/.well-known/change-password", s.changePassword)
	get("/logout", s.showLogout)
	post("/logout", s.postLogout)
	get("/signed-out", s.showSignedOut)

	// What pages are made of, and what watches the server.
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Handle(method, "/assets/*file", gin.WrapF(s.asset))
		e.Handle(method, "/healthz", gin.WrapF(s.healthz))
		e.Handle(method, "/readyz", gin.WrapF(s.readyz))
	}

	if s.dev != nil {
		e.Any("/dev", gin.WrapH(s.dev))
		e.Any("/dev/*path", gin.WrapH(s.dev))
	}
	return e, nil
}
