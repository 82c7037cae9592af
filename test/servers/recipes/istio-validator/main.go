// Istio's own validation of ServiceEntries, as istiod runs it on what it is sent. Each line of the input is a ServiceEntry in protobuf's wire
// format as base64; each line of the output is its verdict: empty, or what is wrong with it.
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
	bytes, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		return err
	}
	entry := &networking.ServiceEntry{}
	if err := proto.Unmarshal(bytes, entry); err != nil {
		return err
	}
	_, err = validation.ValidateServiceEntry(config.Config{
		Meta: config.Meta{GroupVersionKind: gvk.ServiceEntry, Name: "entry", Namespace: "pontoon"},
		Spec: entry,
	})
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
