package webapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// templateArgs is what the UI knows before its first call. Values that nobody gave are null.
type templateArgs struct {
	State               string                 `json:"state"`
	IsDistributed       bool                   `json:"is_distributed"`
	WorkerCount         int                    `json:"worker_count"`
	UserCount           int                    `json:"user_count"`
	NumUsers            *int                   `json:"num_users"`
	SpawnRate           *float64               `json:"spawn_rate"`
	Host                string                 `json:"host"`
	OverrideHostWarning bool                   `json:"override_host_warning"`
	MissingHostWarning  bool                   `json:"missing_host_warning"`
	IsHostRequired      bool                   `json:"is_host_required"`
	RunTime             *string                `json:"run_time"`
	Profile             *string                `json:"profile"`
	AllProfiles         []string               `json:"all_profiles"`
	HideCommonOptions   bool                   `json:"hide_common_options"`
	ShapeCommonOptions  bool                   `json:"shape_use_common_options"`
	ShowUserclassPicker bool                   `json:"show_userclass_picker"`
	UserClasses         []string               `json:"available_user_classes"`
	Users               map[string]userArgs    `json:"users"`
	UserTasks           map[string][]string    `json:"available_user_tasks"`
	ShapeClasses        []string               `json:"available_shape_classes"`
	ExtraOptions        map[string]extraOption `json:"extra_options"`
	History             []historySample        `json:"history"`
	PercentilesToChart  []float64              `json:"percentiles_to_chart"`
	PercentilesToStats  []float64              `json:"percentiles_to_statistics"`
	HistoryEnabled      bool                   `json:"stats_history_enabled"`
	Version             string                 `json:"version"`
	Locustfile          string                 `json:"locustfile"`
	Tasks               string                 `json:"tasks"`
	// BasePath is ours: where the page stands.
	BasePath string `json:"base_path"`
}

type userArgs struct {
	Host       *string  `json:"host"`
	Weight     float64  `json:"weight"`
	FixedCount int      `json:"fixed_count"`
	Tasks      []string `json:"tasks"`
}

type extraOption struct {
	Default    any      `json:"default_value"`
	IsSecret   bool     `json:"is_secret"`
	IsRequired bool     `json:"is_required"`
	IsMultiple bool     `json:"is_multiple"`
	Help       *string  `json:"help_text"`
	Choices    []string `json:"choices"`
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) error {
	nonce := newNonce()
	// Marshal escapes what could end a script: angle brackets, ampersands, line separators.
	args, err := json.Marshal(s.templateArgs())
	if err != nil {
		return fmt.Errorf("web UI: %w", err)
	}
	page := strings.NewReplacer("{{.Args}}", string(args), "{{.Nonce}}", nonce).Replace(s.page)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	// The UI's styles are made while it runs; its scripts and calls stay on this server.
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self' 'nonce-"+nonce+"'; style-src 'self' 'unsafe-inline'; "+
		"img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	_, _ = io.WriteString(w, page)
	return nil
}

// asset serves a file of the UI. Its name changes with its content, so it may be kept for ever.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) error {
	if strings.HasSuffix(r.URL.Path, "/") {
		return &statusError{http.StatusNotFound, "there is no list of the files"}
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.FileServerFS(s.config.UI).ServeHTTP(assetWriter{w}, r)
	return nil
}

// assetWriter takes back the permission to keep an answer that is no file.
type assetWriter struct{ http.ResponseWriter }

func (w assetWriter) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.ResponseWriter.WriteHeader(status)
}

func (s *Server) templateArgs() templateArgs {
	status, plan := s.controller.Status(), s.controller.Plan()
	args := templateArgs{
		State:               status.State,
		IsDistributed:       status.Distributed,
		WorkerCount:         status.ActiveWorkers(),
		UserCount:           status.Users(),
		HideCommonOptions:   plan.Shape != "" && !plan.ShapeUsesCommonOptions && !s.config.ClassPicker,
		ShapeCommonOptions:  plan.ShapeUsesCommonOptions,
		ShowUserclassPicker: s.config.ClassPicker,
		AllProfiles:         []string{},
		ShapeClasses:        append([]string{noShape}, slices.Sorted(slices.Values(plan.Shapes))...),
		ExtraOptions:        map[string]extraOption{},
		History:             s.history.list(s.snapshot().Started),
		PercentilesToChart:  []float64{0.5, 0.95},
		PercentilesToStats:  []float64{0.95, 0.99},
		HistoryEnabled:      s.config.HistoryFile != "",
		Version:             s.config.Version,
		Locustfile:          s.config.Locustfile,
		Tasks:               "{}",
		BasePath:            s.config.BasePath,
		RunTime:             given(plan.RunTime),
		Profile:             given(plan.Profile),
		NumUsers:            given(plan.Users),
		SpawnRate:           given(plan.SpawnRate),
	}
	args.Host, args.OverrideHostWarning = commonHost(&plan)
	if s.config.ClassPicker {
		args.UserClasses, args.Users, args.UserTasks = classNames(&plan), map[string]userArgs{}, map[string][]string{}
		for _, class := range plan.Classes {
			names := taskNames(class.Tasks)
			args.Users[class.Name] = userArgs{given(class.Host), class.Weight, class.FixedCount, names}
			args.UserTasks[class.Name] = names
			if class.AllTasks != nil {
				args.UserTasks[class.Name] = class.AllTasks
			}
		}
	}
	for _, option := range plan.Options {
		args.ExtraOptions[option.Name] = optionArgs(&option)
	}
	return args
}

// commonHost returns the host that all classes have; differ is set when they have several.
func commonHost(plan *Plan) (host string, differ bool) {
	if plan.Host != "" || len(plan.Classes) == 0 {
		return plan.Host, false
	}
	for _, class := range plan.Classes {
		if class.Host != plan.Classes[0].Host {
			return "", true
		}
	}
	return plan.Classes[0].Host, false
}

// taskNames are the names of tasks, each as often as its weight.
func taskNames(tasks []Task) []string {
	names := []string{}
	for _, t := range tasks {
		for range min(max(t.Weight, 1), 1000) {
			names = append(names, t.Name)
		}
	}
	return names
}

// optionArgs describes an option. The value of a secret one stays here: an empty field keeps it.
func optionArgs(o *Option) extraOption {
	_, multiple := o.Value.([]string)
	shown := extraOption{
		Default: o.Value, IsSecret: o.Secret, IsRequired: o.Required, IsMultiple: multiple,
		Help: given(o.Help), Choices: o.Choices,
	}
	if o.Secret {
		known := o.Value != nil && o.Value != ""
		shown.Default, shown.IsRequired = nil, o.Required && !known
	}
	return shown
}

// given returns nil for a zero value.
func given[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}
