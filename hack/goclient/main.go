// Program goclient does with sessions what an operator written in Go would do: types by the reference, and client-go.
//
//	goclient create NAMESPACE NAME SPEC.json   creates a session and watches it until it has ended
//	goclient list NAMESPACE                    lists all sessions
//
// KUBECONFIG names the cluster. Each session is decoded strictly, as a field that the types do not have would be lost, and
// one line is printed for it: name, phase, verdict, cause, files restored, number of findings, seconds.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/json"
)

var sessions = schema.GroupVersionResource{Group: "core.kubestash.com", Version: "v1alpha1", Resource: "backupverificationsession"}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "goclient:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	switch {
	case len(arguments) == 4 && arguments[0] == "create":
		return create(ctx, client.Resource(sessions).Namespace(arguments[1]), arguments[2], arguments[3])
	case len(arguments) == 2 && arguments[0] == "list":
		return list(ctx, client.Resource(sessions).Namespace(arguments[1]))
	}
	return fmt.Errorf("usage: goclient create NAMESPACE NAME SPEC.json | goclient list NAMESPACE")
}

func create(ctx context.Context, api dynamic.ResourceInterface, name, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	session := Session{
		TypeMeta:   metav1.TypeMeta{APIVersion: sessions.GroupVersion().String(), Kind: "BackupVerificationSession"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}
	if err := strict(text, &session.Spec); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&session)
	if err != nil {
		return err
	}
	created, err := api.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return err
	}
	changes, err := api.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", name).String(),
		ResourceVersion: created.GetResourceVersion(),
	})
	if err != nil {
		return err
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		if change.Type != watch.Modified && change.Type != watch.Added {
			return fmt.Errorf("the watch of %s tells %s: %v", name, change.Type, change.Object)
		}
		// Every state on the way is decoded, not the last one alone.
		session, err := decode(change.Object.(*unstructured.Unstructured))
		if err != nil {
			return err
		}
		if session.Status.Phase != "" && session.Status.Phase != "Running" {
			show(session)
			return nil
		}
	}
	return fmt.Errorf("the watch of %s ended before the session did: %w", name, ctx.Err())
}

func list(ctx context.Context, api dynamic.ResourceInterface) error {
	// In pages, as a client of a large cluster does.
	next := ""
	for {
		page, err := api.List(ctx, metav1.ListOptions{Limit: 2, Continue: next})
		if err != nil {
			return err
		}
		for at := range page.Items {
			session, err := decode(&page.Items[at])
			if err != nil {
				return err
			}
			show(session)
		}
		if next = page.GetContinue(); next == "" {
			return nil
		}
	}
}

func decode(object *unstructured.Unstructured) (*Session, error) {
	text, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	session := &Session{}
	if err := strict(text, session); err != nil {
		return nil, fmt.Errorf("%s: %w", object.GetName(), err)
	}
	return session, nil
}

func strict(text []byte, into any) error {
	unknown, err := json.UnmarshalStrict(text, into)
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("not in the types: %v", unknown)
	}
	return err
}

func show(session *Session) {
	var files, seconds int64
	var findings int
	if evidence := session.Status.Evidence; evidence != nil {
		findings = len(evidence.Findings)
		if evidence.Restored != nil {
			files = evidence.Restored.Files
		}
	}
	if session.Status.DurationSeconds != nil {
		seconds = *session.Status.DurationSeconds
	}
	fmt.Printf("%s\t%s\t%s\t%s\t%d\t%d\t%d\n", session.Name, session.Status.Phase, session.Status.Verdict, session.Status.Cause, files, findings, seconds)
}
