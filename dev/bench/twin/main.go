// A minimal controller of destinations on controller-runtime, for the bench to compare ours with: it reads the same
// objects, keeps typed copies without the metadata that ours drops, and writes a status where one is out of date.
package main

import (
	"context"
	"flag"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	user := flag.String("user", "", "the user to impersonate: the policy on statuses admits the controller alone")
	flag.Parse()
	ctrl.SetLogger(zap.New())
	if err := run(*user); err != nil {
		log.Log.Error(err, "the twin ended")
		os.Exit(1)
	}
}

func run(user string) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	// Neither client limits its own requests.
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return err
	}
	addToScheme(scheme)
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme,
		Metrics: server.Options{BindAddress: "0"},
		Cache:   cache.Options{DefaultTransform: withoutMetadata},
		Client:  client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
	})
	if err != nil {
		return err
	}
	reconciler := &reconciler{client: manager.GetClient()}
	err = ctrl.NewControllerManagedBy(manager).
		For(&RecordingDestination{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: 32}).
		Complete(reconciler)
	if err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

// What ours keeps no copy of either.
func withoutMetadata(object any) (any, error) {
	if meta, ok := object.(metav1.Object); ok {
		meta.SetManagedFields(nil)
		meta.SetLabels(nil)
		meta.SetAnnotations(nil)
	}
	return object, nil
}

type reconciler struct {
	client client.Client
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var found RecordingDestination
	if err := r.client.Get(ctx, request.NamespacedName, &found); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if found.Status.ObservedGeneration == found.Generation {
		return ctrl.Result{RequeueAfter: time.Hour}, nil
	}
	if !found.Spec.Suspend {
		var secret corev1.Secret
		name := types.NamespacedName{Namespace: found.Namespace, Name: found.Spec.ExternalIDSecretRef.Name}
		if err := r.client.Get(ctx, name, &secret); err != nil && !errors.IsNotFound(err) {
			return ctrl.Result{}, err
		}
	}
	next := &RecordingDestination{
		TypeMeta:   metav1.TypeMeta{APIVersion: group.String(), Kind: "RecordingDestination"},
		ObjectMeta: metav1.ObjectMeta{Namespace: found.Namespace, Name: found.Name},
		Spec:       found.Spec,
		Status:     *found.Status.DeepCopy(),
	}
	next.Status.ObservedGeneration = found.Generation
	for i := range next.Status.Conditions {
		condition := &next.Status.Conditions[i]
		condition.ObservedGeneration = found.Generation
		if condition.Type == "Ready" && found.Spec.Suspend {
			condition.Status, condition.Reason = metav1.ConditionFalse, "Suspended"
			condition.Message = "suspended"
		}
	}
	owner := client.FieldOwner("recording-controller")
	return ctrl.Result{}, r.client.Status().Patch(ctx, next, client.Apply, client.ForceOwnership, owner)
}
