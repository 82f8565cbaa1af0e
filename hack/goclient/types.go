package main

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Session is a BackupVerificationSession, by the names and types of docs/reference/api.md.
type Session struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              SessionSpec   `json:"spec"`
	Status            SessionStatus `json:"status,omitempty"`
}

// SessionSpec says what is verified, on whose behalf.
type SessionSpec struct {
	Invoker    *Reference `json:"invoker,omitempty"`
	Session    string     `json:"session,omitempty"`
	Repository string     `json:"repository,omitempty"`
	Snapshot   string     `json:"snapshot,omitempty"`
	RetryLeft  int32      `json:"retryLeft,omitempty"`
}

// Reference names an object of the same namespace.
type Reference struct {
	APIGroup string `json:"apiGroup,omitempty"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
}

// SessionStatus says how far the run is, and what it found out.
type SessionStatus struct {
	Phase              string       `json:"phase,omitempty"`
	Duration           string       `json:"duration,omitempty"`
	Retried            *bool        `json:"retried,omitempty"`
	Conditions         []Condition  `json:"conditions,omitempty"`
	Verdict            string       `json:"verdict,omitempty"`
	Cause              string       `json:"cause,omitempty"`
	Message            string       `json:"message,omitempty"`
	ObservedGeneration int64        `json:"observedGeneration,omitempty"`
	StartTime          *metav1.Time `json:"startTime,omitempty"`
	CompletionTime     *metav1.Time `json:"completionTime,omitempty"`
	DurationSeconds    *int64       `json:"durationSeconds,omitempty"`
	Run                *Run         `json:"run,omitempty"`
	Evidence           *Evidence    `json:"evidence,omitempty"`
}

// Condition is one fact about an object.
type Condition struct {
	Type               string      `json:"type"`
	Status             string      `json:"status"`
	Severity           string      `json:"severity,omitempty"`
	ObservedGeneration int64       `json:"observedGeneration,omitempty"`
	LastTransitionTime metav1.Time `json:"lastTransitionTime"`
	Reason             string      `json:"reason,omitempty"`
	Message            string      `json:"message,omitempty"`
}

// Run has the facts fixed at the start of the run.
type Run struct {
	AllowEmpty          bool         `json:"allowEmpty,omitempty"`
	Deadline            string       `json:"deadline,omitempty"`
	HistoryLimit        int32        `json:"historyLimit,omitempty"`
	NotCovered          []string     `json:"notCovered,omitempty"`
	ProvenBy            string       `json:"provenBy,omitempty"`
	Replaceable         bool         `json:"replaceable,omitempty"`
	Repository          *Pinned      `json:"repository,omitempty"`
	RestoreSession      *Pinned      `json:"restoreSession,omitempty"`
	RestoreSpecHash     string       `json:"restoreSpecHash,omitempty"`
	RestoreTimeout      string       `json:"restoreTimeout,omitempty"`
	RetryDelaySeconds   int64        `json:"retryDelaySeconds,omitempty"`
	Snapshot            *RunSnapshot `json:"snapshot,omitempty"`
	StartTimeoutSeconds int64        `json:"startTimeoutSeconds,omitempty"`
	Started             string       `json:"started,omitempty"`
	Verifier            *RunVerifier `json:"verifier,omitempty"`
	WipeTarget          bool         `json:"wipeTarget,omitempty"`
}

// Pinned is an object as it was read.
type Pinned struct {
	Name       string `json:"name,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	UID        string `json:"uid,omitempty"`
	Generation int64  `json:"generation,omitempty"`
}

// RunSnapshot is the Snapshot that is verified.
type RunSnapshot struct {
	Name       string         `json:"name,omitempty"`
	UID        string         `json:"uid,omitempty"`
	Components []RunComponent `json:"components,omitempty"`
}

// RunComponent is one component of a Snapshot, as selected.
type RunComponent struct {
	Name      string   `json:"name,omitempty"`
	Path      string   `json:"path,omitempty"`
	ResticIDs []string `json:"resticIds,omitempty"`
}

// RunVerifier is the verifier in force.
type RunVerifier struct {
	Addon    *Pinned    `json:"addon,omitempty"`
	Foreign  *Foreign   `json:"foreign,omitempty"`
	Function *Pinned    `json:"function,omitempty"`
	Hash     string     `json:"hash,omitempty"`
	Object   *Pinned    `json:"object,omitempty"`
	Target   *RunTarget `json:"target,omitempty"`
	Task     string     `json:"task,omitempty"`
	Type     string     `json:"type,omitempty"`
}

// Foreign says that the Function is not Backproof's.
type Foreign struct {
	VerdictContract bool `json:"verdictContract,omitempty"`
}

// RunTarget is what is restored into.
type RunTarget struct {
	APIGroup  string  `json:"apiGroup,omitempty"`
	Kind      string  `json:"kind,omitempty"`
	Object    *Pinned `json:"object,omitempty"`
	VolumeUID string  `json:"volumeUid,omitempty"`
}

// Evidence says what was restored, read back and checked, and what was left out.
type Evidence struct {
	Source     string      `json:"source,omitempty"`
	Repository *Repository `json:"repository,omitempty"`
	ResticIDs  []string    `json:"resticIds,omitempty"`
	Restored   *Counts     `json:"restored,omitempty"`
	ReadBack   *Counts     `json:"readBack,omitempty"`
	Checks     []Check     `json:"checks,omitempty"`
	Findings   []Finding   `json:"findings,omitempty"`
	NotCovered []string    `json:"notCovered,omitempty"`
	Images     []string    `json:"images,omitempty"`
	Executor   string      `json:"executor,omitempty"`
}

// Repository is the repository as it was opened.
type Repository struct {
	ID                  string   `json:"id,omitempty"`
	Version             int64    `json:"version,omitempty"`
	Keys                []string `json:"keys,omitempty"`
	PasswordFingerprint string   `json:"passwordFingerprint,omitempty"`
}

// Counts are figures of a tree.
type Counts struct {
	Files       int64 `json:"files,omitempty"`
	Directories int64 `json:"directories,omitempty"`
	Bytes       int64 `json:"bytes,omitempty"`
}

// Check is one check and its answer.
type Check struct {
	Name     string `json:"name,omitempty"`
	Expected string `json:"expected,omitempty"`
	Actual   string `json:"actual,omitempty"`
	Holds    bool   `json:"holds,omitempty"`
}

// Finding is one thing that was found.
type Finding struct {
	Kind   string `json:"kind"`
	Path   string `json:"path,omitempty"`
	Detail string `json:"detail,omitempty"`
}
