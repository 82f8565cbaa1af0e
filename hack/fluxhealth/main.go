// Program fluxhealth computes what Flux makes of objects by the health expressions of a Kustomization, with Flux' own evaluator.
//
//	fluxhealth KUSTOMIZATION.yaml < LIST.json
//
// reads a JSON list of objects and prints one line for each: name and status. Where an expression cannot be evaluated, that is
// Unknown, and Flux goes on waiting.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "fluxhealth:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: fluxhealth KUSTOMIZATION.yaml < LIST.json")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return fmt.Errorf("%s: %w", os.Args[1], err)
	}
	evaluators := map[string]*cel.StatusEvaluator{}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return fmt.Errorf("%s: %w", check.Kind, err)
		}
		evaluators[check.APIVersion+" "+check.Kind] = evaluator
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(input, &list); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	for _, raw := range list {
		// Decodes whole numbers as the API machinery does.
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(raw); err != nil {
			return err
		}
		evaluator, ok := evaluators[object.GetAPIVersion()+" "+object.GetKind()]
		if !ok {
			return fmt.Errorf("%s: no expression is for %s of %s", object.GetName(), object.GetKind(), object.GetAPIVersion())
		}
		result, err := evaluator.Evaluate(context.Background(), &object)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", object.GetName(), err)
			fmt.Printf("%s\tUnknown\n", object.GetName())
			continue
		}
		fmt.Printf("%s\t%s\n", object.GetName(), result.Status)
	}
	return nil
}
