// Package dev is what embedded mode shows beside the identity provider, so that
// a newcomer sees the main job in a minute: the letters that were "sent", and a
// small app that people sign in to.
//
// The app is an ordinary relying party. It reaches the provider through its
// public endpoints alone: discovery, authorization code with PKCE, refresh,
// userinfo. Builds with the tag slim have none of this.
package dev
