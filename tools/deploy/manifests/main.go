// Command manifests reads Kubernetes objects as YAML from standard input and
// holds each to Kubernetes' own types: a field that is unknown, twice there or of
// another type is an error. Objects of the groups core, apps and batch, of which
// client-go carries the OpenAPI schema, are held to that too, which says what is
// required and which values there are. Kinds of others (custom resources) are errors
// unless -others names them, such as -others ServiceMonitor,HTTPRoute; of those
// nothing is known.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi/openapitest"
	"sigs.k8s.io/yaml"
)

func main() {
	others := flag.String("others", "", "kinds of custom resources, with commas between, that are not looked at")
	flag.Parse()
	n, err := check(os.Stdin, strings.Split(*others, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if n == 0 {
		fmt.Fprintln(os.Stderr, "there are no objects")
		os.Exit(1)
	}
	fmt.Fprintf(os.Stdout, "%d objects are valid\n", n)
}

// check returns how many objects there are, and what is wrong with them.
func check(r io.Reader, others []string) (n int, _ error) {
	schemas := map[string]*jsonschema.Schema{}
	decode := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		serializer.SerializerOptions{Yaml: true, Strict: true})
	var wrong []error
	documents := utilyaml.NewYAMLReader(bufio.NewReader(r))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return n, errors.Join(wrong...)
		} else if err != nil {
			return n, err
		}
		var object unstructured.Unstructured
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return n, err
		}
		if len(object.Object) == 0 {
			continue
		}
		n++
		if slices.Contains(others, object.GetKind()) {
			continue
		}
		if err := checkOne(schemas, decode, document, &object); err != nil {
			wrong = append(wrong, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err))
		}
	}
}

func checkOne(schemas map[string]*jsonschema.Schema, decode runtime.Decoder, document []byte, object *unstructured.Unstructured) error {
	if _, _, err := decode.Decode(document, nil, nil); err != nil {
		return err
	}
	kind := object.GetAPIVersion() + " " + object.GetKind()
	if _, known := schemas[kind]; !known {
		s, err := schemaOf(object)
		if err != nil {
			return err
		}
		schemas[kind] = s
	}
	if schemas[kind] == nil {
		return nil
	}
	text, err := json.Marshal(object.Object)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schemas[kind].Validate(value)
}

// schemaOf finds the schema of the object's kind among those that client-go has
// for its own tests: what an API server of the same version answers. It is nil for
// a group that is not there.
func schemaOf(object *unstructured.Unstructured) (*jsonschema.Schema, error) {
	paths, err := openapitest.NewEmbeddedFileClient().Paths()
	if err != nil {
		return nil, err
	}
	gvk := object.GroupVersionKind()
	path := "apis/" + gvk.Group + "/" + gvk.Version
	if gvk.Group == "" {
		path = "api/" + gvk.Version
	}
	group, ok := paths[path]
	if !ok {
		return nil, nil
	}
	text, err := group.Schema(runtime.ContentTypeJSON)
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	root, _ := document.(map[string]any)
	components, _ := root["components"].(map[string]any)
	all, _ := components["schemas"].(map[string]any)
	for name, schema := range all {
		s, _ := schema.(map[string]any)
		kinds, _ := s["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			if of, _ := k.(map[string]any); of["group"] == gvk.Group && of["version"] == gvk.Version && of["kind"] == gvk.Kind {
				c := jsonschema.NewCompiler()
				if err := c.AddResource("openapi.json", document); err != nil {
					return nil, err
				}
				return c.Compile("openapi.json#/components/schemas/" + name)
			}
		}
	}
	return nil, fmt.Errorf("%s has no kind %s", path, gvk.Kind)
}
