// Package api serves the sign-in system over gRPC, by the contract in
// gatehouse/auth/v1.
//
// It decides nothing: [login.Engine] says what comes next, and the tokens are
// those of the token endpoint, by [provider.FirstParty]. Every call has its time
// from [Server.begin], and goes through one function, [Server.unary], which holds
// the request to the rules of the contract, says whose account it is about and gives
// every error its status.
package api
