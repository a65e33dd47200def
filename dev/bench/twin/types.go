package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var group = schema.GroupVersion{Group: "recordings.revenue.io", Version: "v1alpha1"}

func addToScheme(scheme *runtime.Scheme) {
	scheme.AddKnownTypes(group, &RecordingDestination{}, &RecordingDestinationList{})
	metav1.AddToGroupVersion(scheme, group)
}

type RecordingDestination struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              Spec   `json:"spec"`
	Status            Status `json:"status,omitempty"`
}

type RecordingDestinationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RecordingDestination `json:"items"`
}

type Spec struct {
	Bucket                 string     `json:"bucket"`
	Region                 string     `json:"region"`
	RoleARN                string     `json:"roleARN"`
	ExternalIDSecretRef    SecretRef  `json:"externalIDSecretRef"`
	Prefix                 string     `json:"prefix,omitempty"`
	ExpectedBucketOwner    string     `json:"expectedBucketOwner,omitempty"`
	ObjectACL              string     `json:"objectACL,omitempty"`
	StorageClass           string     `json:"storageClass,omitempty"`
	Encryption             Encryption `json:"encryption,omitempty"`
	SessionDurationSeconds int32      `json:"sessionDurationSeconds,omitempty"`
	Validation             Validation `json:"validation,omitempty"`
	ServiceAccountNames    []string   `json:"serviceAccountNames,omitempty"`
	Suspend                bool       `json:"suspend,omitempty"`
}

type SecretRef struct {
	Name string `json:"name"`
	Key  string `json:"key,omitempty"`
}

type Encryption struct {
	Type      string `json:"type,omitempty"`
	KMSKeyARN string `json:"kmsKeyARN,omitempty"`
}

type Validation struct {
	IntervalSeconds            int32 `json:"intervalSeconds,omitempty"`
	EnforcementIntervalSeconds int32 `json:"enforcementIntervalSeconds,omitempty"`
}

type Status struct {
	ObservedGeneration      int64              `json:"observedGeneration"`
	AccountID               string             `json:"accountID,omitempty"`
	BucketRegion            string             `json:"bucketRegion,omitempty"`
	EstablishedTime         *metav1.Time       `json:"establishedTime,omitempty"`
	EstablishedTarget       string             `json:"establishedTarget,omitempty"`
	LastValidationTime      *metav1.Time       `json:"lastValidationTime,omitempty"`
	LastEnforcementTime     *metav1.Time       `json:"lastEnforcementTime,omitempty"`
	ExternalIDSecretVersion string             `json:"externalIDSecretVersion,omitempty"`
	ExternalIDSecretRef     *SecretRef         `json:"externalIDSecretRef,omitempty"`
	LastHandledRevalidate   string             `json:"lastHandledRevalidate,omitempty"`
	Conditions              []metav1.Condition `json:"conditions,omitempty"`
	Checks                  []Check            `json:"checks,omitempty"`
}

type Check struct {
	Name    string `json:"name"`
	Result  string `json:"result"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

func (in *Status) DeepCopy() *Status {
	out := *in
	for _, at := range []**metav1.Time{&out.EstablishedTime, &out.LastValidationTime, &out.LastEnforcementTime} {
		*at = (*at).DeepCopy()
	}
	out.Conditions = append([]metav1.Condition(nil), in.Conditions...)
	out.Checks = append([]Check(nil), in.Checks...)
	return &out
}

func (in *RecordingDestination) DeepCopyObject() runtime.Object {
	out := *in
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Spec.ServiceAccountNames = append([]string(nil), in.Spec.ServiceAccountNames...)
	out.Status = *in.Status.DeepCopy()
	return &out
}

func (in *RecordingDestinationList) DeepCopyObject() runtime.Object {
	out := *in
	out.Items = make([]RecordingDestination, len(in.Items))
	for i := range in.Items {
		out.Items[i] = *in.Items[i].DeepCopyObject().(*RecordingDestination)
	}
	return &out
}
