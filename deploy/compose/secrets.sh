#!/bin/sh
# Makes the secrets of compose.yaml that can be made, in secrets/ beside it or in
# the directory that is its argument. What is there already stays: run it again at
# any time. It says which files you have to write yourself.
set -eu

dir=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$dir"
# Compose mounts a file as it is, and the containers run as users of their own: they
# must be able to read it. Who else is on this machine is kept out by the directory.
chmod 700 "$dir"
cd "$dir"

write() { # file, from standard input
	cat >".$1.new"
	chmod 444 ".$1.new"
	mv ".$1.new" "$1"
}
random() { openssl rand -hex 32; }
absent() { [ ! -e "$1" ]; }
sum() { printf %s "$1" | openssl dgst -sha256 -r | cut -d ' ' -f 1; }

# Without seal_key the signing keys and second factors in the database cannot be
# read again. Keep a copy where the copies of the database are not.
for name in seal_key mail_key postgres_password; do
	absent "$name" && random | write "$name"
done

if absent gatehouse_password || absent database_url; then
	password=$(random)
	printf '%s\n' "$password" | write gatehouse_password
	# In the network back, on this machine alone, there is nobody to hide it from. A
	# pool has as many connections as the machine has cores, unless it is told.
	printf 'postgres://gatehouse:%s@postgres/gatehouse?sslmode=disable&pool_max_conns=16\n' "$password" | write database_url
fi

if absent valkey_acl || absent valkey_url || absent worker_valkey_url; then
	server=$(random) worker=$(random)
	printf 'valkey://gatehouse:%s@valkey:6379/0\n' "$server" | write valkey_url
	printf 'valkey://worker:%s@valkey:6379/0\n' "$worker" | write worker_valkey_url
	# Nobody without a password, and nothing that a server does not do: no FLUSHALL,
	# no CONFIG. INFO tells the server that nothing is evicted. The worker sees the
	# queue alone: no code, no session, no limit.
	write valkey_acl <<-END
		user default off
		user gatehouse on #$(sum "$server") ~* &* +@all -@admin -@dangerous +info
		user worker on #$(sum "$worker") ~asynq:* &asynq:* +@all -@admin -@dangerous +info
	END
fi

# The backend of telemetry, if it wants no token, does not mind one.
absent otlp_token && printf none | write otlp_token

if absent smtp_url; then
	echo "secrets.sh: write the mail server to $dir/smtp_url: smtp://user:password@host:587 or smtps://user:password@host:465" >&2
	exit 1
fi
