// Says what ValidatingAdmissionPolicies make of requests, by the API server's own code and without a server. Standard
// input: {"policies": […], "requests": [{"user", "operation", "resource", "object", "oldObject"}]}. Standard output: for
// each request the list of what refuses it, which is empty where it is admitted. A namespace is selected by its name, the
// one label that every namespace has.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	v1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/object"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
)

type request struct {
	User        string         `json:"user"`
	Operation   string         `json:"operation"`
	Resource    string         `json:"resource"`
	Subresource string         `json:"subresource"`
	Object      map[string]any `json:"object"`
	OldObject   map[string]any `json:"oldObject"`
}

type input struct {
	Policies []v1.ValidatingAdmissionPolicy `json:"policies"`
	Requests []request                      `json:"requests"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "policies:", err)
		os.Exit(1)
	}
}

func run() error {
	var given input
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return err
	}
	validators := make([]validating.Validator, len(given.Policies))
	for i, policy := range given.Policies {
		if len(policy.Spec.MatchConstraints.ExcludeResourceRules) > 0 {
			return fmt.Errorf("%s excludes resources, which is not evaluated here", policy.Name)
		}
		validators[i] = compile(policy.Spec)
	}
	answers := make([][]string, len(given.Requests))
	for i, request := range given.Requests {
		answers[i] = []string{}
		attributes := request.attributes()
		for at, policy := range given.Policies {
			matched, err := matches(policy.Spec.MatchConstraints, attributes)
			if err != nil {
				return fmt.Errorf("%s: %w", policy.Name, err)
			}
			if !matched {
				continue
			}
			versioned := &admission.VersionedAttributes{
				Attributes:         attributes,
				VersionedObject:    attributes.GetObject(),
				VersionedOldObject: attributes.GetOldObject(),
				VersionedKind:      attributes.GetKind(),
			}
			result := validators[at].Validate(context.Background(), attributes.GetResource(), versioned, nil,
				&corev1.Namespace{}, celconfig.RuntimeCELCostBudget, nil)
			for _, decision := range result.Decisions {
				if decision.Action == validating.ActionDeny {
					answers[i] = append(answers[i], decision.Message)
				}
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func (r request) attributes() admission.Attributes {
	object, old := content(r.Object), content(r.OldObject)
	named := object
	if named == nil {
		named = old
	}
	of := named.(*unstructured.Unstructured)
	kind := of.GroupVersionKind()
	resource := schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: r.Resource}
	return admission.NewAttributesRecord(object, old, kind, of.GetNamespace(), of.GetName(), resource, r.Subresource,
		admission.Operation(r.Operation), nil, false, &user.DefaultInfo{Name: r.User})
}

// A nil map is a nil interface, as the API server has it.
func content(fields map[string]any) runtime.Object {
	if fields == nil {
		return nil
	}
	return &unstructured.Unstructured{Object: fields}
}

func matches(constraints *v1.MatchResources, attributes admission.Attributes) (bool, error) {
	for _, rule := range constraints.ResourceRules {
		matcher := rules.Matcher{Rule: rule.RuleWithOperations, Attr: attributes}
		if matcher.Matches() {
			return selects(constraints, attributes)
		}
	}
	return false, nil
}

func selects(constraints *v1.MatchResources, attributes admission.Attributes) (bool, error) {
	if constraints.NamespaceSelector != nil {
		selector, err := metav1.LabelSelectorAsSelector(constraints.NamespaceSelector)
		if err != nil {
			return false, err
		}
		if !selector.Matches(labels.Set{corev1.LabelMetadataName: attributes.GetNamespace()}) {
			return false, nil
		}
	}
	if constraints.ObjectSelector == nil {
		return true, nil
	}
	matched, failed := (&object.Matcher{}).MatchObjectSelector(objectSelector{constraints.ObjectSelector}, attributes)
	if failed != nil {
		return false, failed
	}
	return matched, nil
}

type objectSelector struct{ selector *metav1.LabelSelector }

func (s objectSelector) GetParsedObjectSelector() (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(s.selector)
}

// As compilePolicy does in k8s.io/apiserver/pkg/admission/plugin/policy/validating, which exports no more than its parts.
func compile(spec v1.ValidatingAdmissionPolicySpec) validating.Validator {
	declared := cel.OptionalVariableDeclarations{HasAuthorizer: true, StrictCost: true}
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion(), true)
	template, err := cel.NewCompositionEnv(cel.VariablesTypeName, base)
	if err != nil {
		panic(err)
	}
	compiler := cel.NewCompositedCompilerFromTemplate(template)
	var variables []cel.NamedExpressionAccessor
	for _, variable := range spec.Variables {
		variables = append(variables, &validating.Variable{Name: variable.Name, Expression: variable.Expression})
	}
	compiler.CompileAndStoreVariables(variables, declared, environment.StoredExpressions)
	var conditions, validations, messages []cel.ExpressionAccessor
	for i := range spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&spec.MatchConditions[i]))
	}
	for _, it := range spec.Validations {
		validations = append(validations,
			&validating.ValidationCondition{Expression: it.Expression, Message: it.Message, Reason: it.Reason})
		if it.MessageExpression == "" {
			messages = append(messages, nil)
		} else {
			messages = append(messages, &validating.MessageExpressionCondition{MessageExpression: it.MessageExpression})
		}
	}
	condition := func(of []cel.ExpressionAccessor) cel.ConditionEvaluator {
		return compiler.CompileCondition(of, declared, environment.StoredExpressions)
	}
	var matcher matchconditions.Matcher
	if len(conditions) > 0 {
		matcher = matchconditions.NewMatcher(condition(conditions), spec.FailurePolicy, "policy", "validate", "")
	}
	return validating.NewValidator(condition(validations), matcher, condition(nil), condition(messages), spec.FailurePolicy)
}
