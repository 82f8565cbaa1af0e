// Program health computes what GitOps tools make of objects: kstatus, which Flux and kubectl plug-ins use, and the health
// script for Argo CD in docs/gitops, run by the interpreter that Argo CD has.
//
//	health SCRIPT.lua < LIST.json
//
// reads a JSON list of objects and prints one line for each: name, kstatus, Argo CD's health, and its message.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: health SCRIPT.lua < LIST.json")
	}
	script, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var objects []map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	for _, object := range objects {
		named := unstructured.Unstructured{Object: integers(object).(map[string]any)}
		computed, err := status.Compute(&named)
		if err != nil {
			return fmt.Errorf("%s: kstatus: %w", named.GetName(), err)
		}
		health, message, err := argo(string(script), object)
		if err != nil {
			return fmt.Errorf("%s: %w", named.GetName(), err)
		}
		fmt.Printf("%s\t%s\t%s\t%s\n", named.GetName(), computed.Status, health, message)
	}
	return nil
}

// integers turns whole numbers into int64, as the API machinery decodes them.
func integers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		for key, inner := range value {
			out[key] = integers(inner)
		}
		return out
	case []any:
		out := make([]any, len(value))
		for at, inner := range value {
			out[at] = integers(inner)
		}
		return out
	case float64:
		if value == float64(int64(value)) {
			return int64(value)
		}
	}
	return value
}

// argo runs the script with the object as global obj, without libraries, and reads the table that it returns.
func argo(script string, object map[string]any) (health, message string, err error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return "", "", err
		}
	}
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		return "", "", err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", fmt.Errorf("the script returned no table")
	}
	return table.RawGetString("status").String(), table.RawGetString("message").String(), nil
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, inner := range value {
			table.RawSetString(key, toLua(state, inner))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, inner := range value {
			table.Append(toLua(state, inner))
		}
		return table
	case string:
		return lua.LString(value)
	case float64:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	}
	return lua.LNil
}
