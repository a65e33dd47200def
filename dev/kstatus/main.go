// Says what kstatus, the library by which GitOps tools judge a resource, makes of the objects on standard input: one
// object or a List as JSON, as `kubectl get --output json` prints it. One line each: NAMESPACE/NAME STATUS MESSAGE.
package main

import (
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := judge(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func judge(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	read, err := runtime.Decode(unstructured.UnstructuredJSONScheme, text)
	if err != nil {
		return err
	}
	if one, ok := read.(*unstructured.Unstructured); ok {
		return line(out, one)
	}
	return read.(*unstructured.UnstructuredList).EachListItem(func(item runtime.Object) error {
		return line(out, item.(*unstructured.Unstructured))
	})
}

func line(out io.Writer, object *unstructured.Unstructured) error {
	result, err := status.Compute(object)
	if err != nil {
		return fmt.Errorf("%s/%s: %w", object.GetNamespace(), object.GetName(), err)
	}
	_, err = fmt.Fprintf(out, "%s/%s %s %s\n", object.GetNamespace(), object.GetName(), result.Status, result.Message)
	return err
}
