# setup.sh - run by the guest's agent when the machine boots, before any container: see the file "bundle".
# A command that fails ends the boot; what it said is in the container's log.
set -e

# Huge pages made behind a database's back cost it latency; those it asks for itself stay.
if [ -e /sys/kernel/mm/transparent_hugepage/enabled ]; then
	echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
	echo never >/sys/kernel/mm/transparent_hugepage/defrag
fi
