#!/bin/sh
# Istio's CRDs out of its Go module, given as path@version.
set -e
folder=$(GOFLAGS=-mod=mod go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
cp "$folder/manifests/charts/base/files/crd-all.gen.yaml" crds.yaml
chmod u+w crds.yaml
