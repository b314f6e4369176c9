#!/bin/sh
# Waits until servers are ready, as /readyz says it, and Envoy has found them: only
# then may the next be replaced. Without that, a release that does not start would
# replace both. Run it beside compose.yaml: ./ready.sh gatehouse-1
set -eu

# The images have no shell to ask with. That of PostgreSQL has bash, and is in a
# network with the servers.
for server in "$@"; do
	docker compose exec -T postgres timeout 60 bash -c '
		until exec 3<>"/dev/tcp/$0/8080" &&
			printf "GET /readyz HTTP/1.0\r\n\r\n" >&3 && read -r _ status _ <&3 && [ "$status" = 200 ]; do
			sleep 1
		done 2>/dev/null
	' "$server" || {
		echo "ready.sh: $server is not ready within a minute; see docker compose logs $server" >&2
		exit 1
	}
done

# A container that was replaced may have another address. Envoy looks names up every
# five seconds.
sleep 10
