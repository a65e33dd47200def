{{/* Prefix of every object's name; leaves room for the longest suffix. */}}
{{- define "recording-operator.fullname" -}}
{{- $name := include "recording-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The chart's name, as labels and selectors have it. */}}
{{- define "recording-operator.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Fails where the names differ from those of the release that runs: its sidecars know the broker by its name, and would not
     find it any more. */}}
{{- define "recording-operator.keepsNames" -}}
{{- if not .Values.confirmRename -}}
{{- range dig "items" (list) (lookup "v1" "Service" .Release.Namespace "") -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $selector := dig "spec" "selector" (dict) . -}}
{{- $renamed := or (ne .metadata.name (printf "%s-broker" (include "recording-operator.fullname" $))) (ne (get $labels "app.kubernetes.io/name") (include "recording-operator.name" $)) -}}
{{- if and $renamed (eq (get $labels "app.kubernetes.io/instance") $.Release.Name) (eq (get $selector "app.kubernetes.io/component") "broker") -}}
{{- fail (printf "nameOverride and fullnameOverride rename the Service %s, by which running sidecars know the broker: their recordings would wait until the pods are created again. Leave the names as they are, or set confirmRename=true" .metadata.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "recording-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "recording-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that select one component's pods. Takes (list . "controller"). */}}
{{- define "recording-operator.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "recording-operator.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels and annotations of one component's pods. Takes (list . "controller"). */}}
{{- define "recording-operator.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values (index . 1) -}}
labels: {{- merge (include "recording-operator.selector" . | fromYaml) ($own.podLabels | default dict) ($root.Values.commonLabels | default dict) | toYaml | nindent 2 }}
{{- with $root.Values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The principal that customers' roles trust. It has no default: a forgotten one would have them trust a stranger. */}}
{{- define "recording-operator.principalARN" -}}
{{- required "set platform.principalARN to the ARN of the IAM user or role that your customers' roles trust, such as --set platform.principalARN=arn:aws:iam::111111111111:user/recordings" .Values.platform.principalARN -}}
{{- end -}}

{{/* Metadata of one component's Deployment, and its first fields that all three share. Takes (list . "controller"). */}}
{{- define "recording-operator.deployment" -}}
{{- $root := index . 0 -}}
metadata:
  name: {{ include "recording-operator.fullname" $root }}-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "recording-operator.labels" $root | nindent 4 }}
  {{- with (index $root.Values (index . 1)).deploymentAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  revisionHistoryLimit: {{ $root.Values.revisionHistoryLimit }}
{{- end -}}

{{/* Name of one component's ServiceAccount: no two may be the same, as each has its own rights. Takes (list . "controller"). */}}
{{- define "recording-operator.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- $names := dict -}}
{{- range list "controller" "webhook" "broker" -}}
{{- $own := (index $root.Values .).serviceAccount | default dict -}}
{{- $name := $own.name | default (printf "%s-%s" (include "recording-operator.fullname" $root) .) -}}
{{- if has $name (values $names) -}}
{{- fail (printf "two of controller, webhook and broker have the ServiceAccount %s: give %s.serviceAccount.name a value of its own" $name .) -}}
{{- end -}}
{{- $_ := set $names . $name -}}
{{- end -}}
{{- get $names (index . 1) -}}
{{- end -}}

{{/* User name of one component's ServiceAccount, as policies see it. Takes (list . "controller"). */}}
{{- define "recording-operator.userName" -}}
{{- printf "system:serviceaccount:%s:%s" (index . 0).Release.Namespace (include "recording-operator.serviceAccountName" .) -}}
{{- end -}}

{{/* One component's ServiceAccount. Takes (list . "controller"). */}}
{{- define "recording-operator.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $own := (index $root.Values $component).serviceAccount | default dict -}}
{{- if ne (toString $own.create) "false" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "recording-operator.serviceAccountName" . }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "recording-operator.labels" $root | nindent 4 }}
  {{- with merge (dict) ($own.annotations | default dict) (ternary (dict) $root.Values.serviceAccount.annotations (eq $component "webhook")) }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
---
{{ end -}}
{{- end -}}

{{/* Whether the platform's credentials are an access key in a Secret; empty when they are a role's. */}}
{{- define "recording-operator.hasAccessKey" -}}
{{- if eq .Values.platform.credentials "secret" -}}yes{{- end -}}
{{- end -}}

{{/* The image: the operator's, and the sidecar's. */}}
{{- define "recording-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* JSON list of the images a sidecar may have: the current one, those named, and those that the webhooks running now
     inject until they have ended: the Deployment's, and of an upgrade shortly before, those of pods that terminate. */}}
{{- define "recording-operator.sidecarImages" -}}
{{- $images := prepend .Values.uploader.previousImages (include "recording-operator.image" .) -}}
{{- $name := printf "%s-webhook" (include "recording-operator.fullname" .) -}}
{{- $running := list (dig "spec" "template" (dict) (lookup "apps/v1" "Deployment" .Release.Namespace $name)) -}}
{{- range dig "items" (list) (lookup "v1" "Pod" .Release.Namespace "") -}}
{{- $labels := .metadata.labels | default dict -}}
{{- if and (eq (get $labels "app.kubernetes.io/instance") $.Release.Name) (eq (get $labels "app.kubernetes.io/component") "webhook") -}}
{{- $running = append $running . -}}
{{- end -}}
{{- end -}}
{{- range $running -}}
{{- range dig "spec" "containers" (list) . -}}
{{- range .args -}}
{{- if hasPrefix "--uploader-image=" . -}}
{{- $images = append $images (trimPrefix "--uploader-image=" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $images | uniq | toJson -}}
{{- end -}}

{{/* Amounts by resource as a JSON object of texts, which CEL reads as well. Takes a map, in which YAML may have put numbers. */}}
{{- define "recording-operator.amounts" -}}
{{- $amounts := dict -}}
{{- range $resource, $amount := . -}}
{{- $_ := set $amounts $resource (toString $amount) -}}
{{- end -}}
{{- $amounts | toJson -}}
{{- end -}}

{{/* Where the sidecars find the broker. */}}
{{- define "recording-operator.brokerURL" -}}
{{- printf "https://%s-broker.%s.svc:8443" (include "recording-operator.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* Whether the controller keeps the certificates; empty when cert-manager does. */}}
{{- define "recording-operator.keepsCertificates" -}}
{{- if eq .Values.certificates "selfManaged" -}}yes{{- end -}}
{{- end -}}

{{/* What the AWS callers, controller and broker, are told of AWS. */}}
{{- define "recording-operator.awsArgs" -}}
- --aws-region={{ .Values.aws.region }}
{{- with .Values.aws.endpointURL }}
- --aws-endpoint-url={{ . }}
{{- end }}
{{- with .Values.aws.endpointCABundle }}
- {{ printf "--aws-endpoint-ca=%s" . | quote }}
{{- end }}
- --sts-calls-per-second={{ .Values.aws.stsCallsPerSecond }}
{{- if .Values.aws.requireConditionalWrites }}
- --require-conditional-writes
{{- end }}
{{- if include "recording-operator.hasAccessKey" . }}
- --platform-key-dir=/var/run/secrets/recording-operator/aws
{{- else }}
- --platform-credentials=workloadIdentity
{{- end }}
{{- end -}}

{{/* Pod fields that the three components share. */}}
{{- define "recording-operator.podDefaults" -}}
automountServiceAccountToken: true
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Container fields that all our pods share. Takes (list . "controller"), or another name for a pod that is none of the three. */}}
{{- define "recording-operator.container" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values (index . 1) | default dict -}}
image: {{ include "recording-operator.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [/recording-operator]
env:
  - {name: RUST_LOG, value: {{ $root.Values.logLevel | quote }}}
  {{- with $own.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Container fields that the three components share. Takes (list . "controller"). */}}
{{- define "recording-operator.containerDefaults" -}}
{{ include "recording-operator.container" . }}
# Within the container: no flood of the pod's ports makes them fail. Each starts a process, which a busy node delays.
livenessProbe:
  exec: {command: [/recording-operator, probe, alive]}
  periodSeconds: 20
  timeoutSeconds: 10
readinessProbe:
  exec: {command: [/recording-operator, probe, ready]}
  periodSeconds: 5
  timeoutSeconds: 10
{{- end -}}

{{/* Spread over zones and nodes as far as there are several, or as the values say. Takes (list . "broker"). */}}
{{- define "recording-operator.spread" -}}
topologySpreadConstraints:
{{- $selector := include "recording-operator.selector" . }}
{{- $own := (index (index . 0).Values (index . 1)).topologySpreadConstraints }}
{{- with $own }}
{{- toYaml . | nindent 2 }}
{{- end }}
{{- range ternary (list) (list "topology.kubernetes.io/zone" "kubernetes.io/hostname") (not (empty $own)) }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels: {{- $selector | nindent 8 }}
{{- end }}
{{- end -}}

{{/* Namespaces whose pods are never injected nor guarded, so that neither can keep the cluster or the operator down. */}}
{{- define "recording-operator.namespaceSelector" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: [kube-system, {{ .Release.Namespace }}]
{{- end -}}
