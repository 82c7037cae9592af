# Takes one program out of a Debian package, without installing it: unpack.sh PACKAGE PATH/OF/PROGRAM
package=$1 program=$2

fail() {
  echo "$package: $1" >&2
  exit 1
}

if ! apt-get download "$package"; then
  # A fresh image has no lists of packages.
  [ "$(id -u)" = 0 ] || fail "apt knows no such package; run \`apt-get update\` as root, or install $package yourself, and try again"
  apt-get update || fail 'the lists of packages cannot be fetched; apt needs a mirror of Debian or Ubuntu that it can reach'
  apt-get download "$package" || fail 'no such package after apt-get update; Debian 12 or Ubuntu 22.04 and later have it'
fi
dpkg -x ./*.deb unpacked || fail 'the package cannot be unpacked'
mv "unpacked/$program" . || fail "the package holds no $program"
rm -r unpacked ./*.deb
