#!/bin/sh
# Fills a server for the conformance suite, with commands that any operator has:
# a person of whom every claim is known, and the clients of the plans that
# register none. Run it once, before the server or beside it:
#
#   set -a; . deploy/conformance.env; set +a
#   echo 'a password for the suite' | deploy/conformance.sh
#
# The first argument is where the suite is, the second the alias of the test
# plan. It prints the clients as JSON; their secrets are not shown again.
set -eu

suite=${1:-https://localhost.emobix.co.uk:8443}
alias=${2:-gatehouse}
person=buffy@example.org

gatehouse user create --email "$person" --name 'Buffy Anne Summers' --password-stdin >&2
gatehouse user profile "$person" --file - >&2 <<'END'
{
  "given_name": "Buffy",
  "family_name": "Summers",
  "middle_name": "Anne",
  "nickname": "Buff",
  "preferred_username": "buffy",
  "profile": "https://example.org/buffy",
  "picture": "https://example.org/buffy.png",
  "website": "https://buffy.example.org/",
  "gender": "female",
  "birthdate": "1981-01-19",
  "zoneinfo": "America/Los_Angeles",
  "locale": "en-US",
  "phone_number": "+13105550123",
  "phone_number_verified": true,
  "address": {
    "formatted": "1630 Revello Drive\nSunnydale, CA 90000\nUSA",
    "street_address": "1630 Revello Drive",
    "locality": "Sunnydale",
    "region": "CA",
    "postal_code": "90000",
    "country": "USA"
  }
}
END

client() {
	gatehouse client create --json --optional-pkce --id-token-alg RS256 \
		--scope 'openid profile email address phone offline_access' \
		--redirect-uri "$suite/test/a/$alias/callback" \
		--post-logout-redirect "$suite/test/a/$alias/post_logout_redirect" \
		--backchannel "$suite/test/a/$alias/backchannel_logout" "$@"
}
client --id conformance-1 --name 'Conformance suite'
client --id conformance-2 --name 'Conformance suite, second client'
client --id conformance-post --name 'Conformance suite, client_secret_post' --auth-method client_secret_post
