// Istio's own validation, as istiod runs it on what it is sent. Each line of the input is a kind, a name and a resource of that kind in protobuf's
// wire format as base64; each line of the output is its verdict: empty, or what is wrong with it.
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/validation"
)

func verdict(line string) error {
	parts := strings.Split(line, " ")
	if len(parts) != 3 {
		return fmt.Errorf("expected kind, name and body, found %d parts", len(parts))
	}
	bytes, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	meta := config.Meta{Name: parts[1], Namespace: "pontoon"}
	var spec proto.Message
	var validate validation.ValidateFunc
	switch parts[0] {
	case "ServiceEntry":
		meta.GroupVersionKind, spec, validate = gvk.ServiceEntry, &networking.ServiceEntry{}, validation.ValidateServiceEntry
	case "Gateway":
		meta.GroupVersionKind, spec, validate = gvk.Gateway, &networking.Gateway{}, validation.ValidateGateway
	case "VirtualService":
		meta.GroupVersionKind, spec, validate = gvk.VirtualService, &networking.VirtualService{}, validation.ValidateVirtualService
	default:
		return fmt.Errorf("unknown kind %q", parts[0])
	}
	if err := proto.Unmarshal(bytes, spec); err != nil {
		return err
	}
	if unknown := spec.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		return fmt.Errorf("%d bytes of unknown fields", len(unknown))
	}
	_, err = validate(config.Config{Meta: meta, Spec: spec})
	return err
}

func main() {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := input.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			text := ""
			if problem := verdict(line); problem != nil {
				text = strings.ReplaceAll(problem.Error(), "\n", "; ")
			}
			fmt.Println(text)
		}
		if err != nil {
			return
		}
	}
}
