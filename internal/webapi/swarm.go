package webapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// noShape is how the form says that no load shape is wanted.
const noShape = "Default"

// badRunTime is Locust's text; the forms are those of parseRunTime.
const badRunTime = "Valid run_time formats are : 20, 20s, 3m, 2h, 1h20m, 3h30m10s, etc."

// refusal is why a start is refused, in the form that Locust's texts have.
type refusal string

func (r refusal) Error() string { return string(r) }

func refusedf(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// swarmAnswer answers /swarm. Refusals have status 200 as well.
type swarmAnswer struct {
	outcome
	Host        *string  `json:"host"`
	RunTime     int64    `json:"run_time,omitempty"`
	UserClasses []string `json:"user_classes,omitempty"`
}

// swarm starts a run or changes it.
func (s *Server) swarm(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(r)
	if err != nil {
		return badRequest("swarm", err)
	}
	plan := s.controller.Plan()
	answer := swarmAnswer{}
	if plan.Host != "" {
		answer.Host = &plan.Host
	}
	wish, err := parseSwarm(form, &plan, s.config.ClassPicker)
	if err == nil {
		err = s.controller.Swarm(r.Context(), wish)
	}
	s.requests.forget()
	if err != nil {
		answer.Message = err.Error()
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
	if wish.Host != nil {
		answer.Host = wish.Host
	}
	answer.Success, answer.Message = true, "Swarming started"
	if wish.Shape != "" {
		answer.Message = fmt.Sprintf("Swarming started using shape class '%s'", wish.Shape)
	} else {
		answer.RunTime = int64(wish.RunTime / time.Second)
		if s.config.ClassPicker {
			answer.UserClasses = s.chosenClasses(&plan, &wish)
		}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (s *Server) chosenClasses(plan *Plan, wish *Swarm) []string {
	if wish.Classes != nil {
		return slices.Sorted(slices.Values(wish.Classes))
	}
	return classNames(plan)
}

func classNames(plan *Plan) []string {
	names := make([]string, 0, len(plan.Classes))
	for _, c := range plan.Classes {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

// readForm reads a form of either encoding; any other body is an empty form, as in Locust.
func readForm(r *http.Request) (url.Values, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && mediaType == "multipart/form-data" {
		err = r.ParseMultipartForm(maxBody)
		if r.MultipartForm != nil {
			defer func() { _ = r.MultipartForm.RemoveAll() }() // files are not wanted
		}
		return r.PostForm, err
	}
	return r.PostForm, r.ParseForm()
}

// parseSwarm reads the form of /swarm. Nothing is changed when any of it is wrong.
func parseSwarm(form url.Values, plan *Plan, picker bool) (Swarm, error) {
	wish := Swarm{Shape: plan.Shape, Profile: form.Get("profile")}
	if picker {
		if err := parsePicker(form, plan, &wish); err != nil {
			return Swarm{}, err
		}
	}
	if err := parseLoad(form, &wish); err != nil {
		return Swarm{}, err
	}
	if form.Has("host") {
		host := strings.NewReplacer("<", "", ">", "").Replace(form.Get("host"))
		wish.Host = &host
	}
	options, err := parseOptions(form, plan.Options)
	wish.Options = options
	return wish, err
}

func parsePicker(form url.Values, plan *Plan, wish *Swarm) error {
	known := classNames(plan)
	if len(known) == 0 {
		return refusedf("UserClass picker is active but there are no available UserClasses")
	}
	for _, name := range form["user_classes"] {
		if !slices.Contains(known, name) {
			return refusedf("Unknown user class %s; there are: %s", quoted(name), strings.Join(known, ", "))
		}
		if !slices.Contains(wish.Classes, name) {
			wish.Classes = append(wish.Classes, name)
		}
	}
	wish.Shape = form.Get("shape_class")
	if wish.Shape == noShape {
		wish.Shape = ""
	}
	if wish.Shape != "" && !slices.Contains(plan.Shapes, wish.Shape) {
		return refusedf("Unknown shape class %s; there are: %s", quoted(wish.Shape), strings.Join(append([]string{noShape}, plan.Shapes...), ", "))
	}
	return nil
}

// parseLoad reads users, spawn rate and run time. With a shape none of them is needed, and the form of
// the UI sends zeros.
func parseLoad(form url.Values, wish *Swarm) error {
	var err error
	if text := form.Get("user_count"); form.Has("user_count") {
		if wish.Users, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
			return refusedf("Invalid user_count value: %s (must be an integer)", quoted(text))
		}
		if wish.Users < 0 && wish.Shape == "" {
			return refusedf("Invalid user_count value: %s (must not be negative)", quoted(text))
		}
	}
	if text := form.Get("spawn_rate"); form.Has("spawn_rate") {
		if wish.SpawnRate, err = strconv.ParseFloat(strings.TrimSpace(text), 64); err != nil {
			return refusedf("Invalid spawn_rate value: %s (must be a number)", quoted(text))
		}
		if wish.Shape == "" && (!(wish.SpawnRate > 0) || math.IsInf(wish.SpawnRate, 0)) {
			return refusedf("Invalid spawn_rate value: %s (must be a number greater than 0)", quoted(text))
		}
	}
	if wish.Shape == "" && (!form.Has("user_count") || !form.Has("spawn_rate")) {
		return refusedf("Missing or invalid user_count or spawn_rate from /swarm request")
	}
	if text := form.Get("run_time"); text != "" {
		runTime, ok := parseRunTime(text)
		if !ok {
			return refusal(badRunTime)
		}
		wish.RunTime = runTime
	}
	return nil
}

var runTimeParts = regexp.MustCompile(`^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$`)

// parseRunTime reads whole seconds, or hours, minutes and seconds in this order with their letters.
func parseRunTime(text string) (d time.Duration, ok bool) {
	parts := runTimeParts.FindStringSubmatch(text)
	if parts == nil {
		parts = []string{text, "", "", text} // plain seconds
	}
	if text == "" {
		return 0, false
	}
	seconds := int64(0)
	for i, unit := range []int64{3600, 60, 1} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseUint(parts[i+1], 10, 31)
		if err != nil || strings.HasPrefix(parts[i+1], "+") {
			return 0, false
		}
		seconds += int64(n) * unit
	}
	if seconds > int64(math.MaxInt64/time.Second) {
		return 0, false
	}
	return time.Duration(seconds) * time.Second, true
}

// parseOptions reads new values of custom options, each by the type of the old one. Fields that name
// no option are ignored, and so is an empty field of a secret one: the page does not know its value.
func parseOptions(form url.Values, options []Option) (map[string]any, error) {
	values := map[string]any{}
	for _, field := range slices.Sorted(maps.Keys(form)) {
		option := optionOf(field, options)
		if option == nil || option.Secret && form.Get(field) == "" {
			continue
		}
		value, err := convert(form[field], option.Value)
		if err != nil {
			return nil, refusedf("Invalid %s value: %s (%v)", option.Name, quoted(form.Get(field)), err)
		}
		values[option.Name] = value
	}
	if len(values) == 0 {
		return nil, nil
	}
	return values, nil
}

// optionOf finds the option of a field. The UI makes its names anew from its own form of them, in
// which an underscore before a digit is lost or gained: such a field means the option whose letters
// and digits are the same.
func optionOf(field string, options []Option) *Option {
	if fixedFields[field] {
		return nil
	}
	var similar []*Option
	for i := range options {
		if options[i].Name == field {
			return &options[i]
		}
		if squash(options[i].Name) == squash(field) {
			similar = append(similar, &options[i])
		}
	}
	if len(similar) == 1 {
		return similar[0]
	}
	return nil
}

var fixedFields = map[string]bool{
	"user_count": true, "spawn_rate": true, "host": true, "run_time": true, "profile": true,
	"user_classes": true, "shape_class": true,
}

func squash(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

func convert(given []string, old any) (any, error) {
	text := ""
	if len(given) > 0 {
		text = given[0]
	}
	switch old.(type) {
	case bool:
		return text == "true", nil
	case int64:
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return nil, errors.New("must be an integer")
		}
		return n, nil
	case float64:
		x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			return nil, errors.New("must be a number")
		}
		return x, nil
	case []string:
		if strings.Contains(text, ",") {
			return strings.Split(text, ","), nil
		}
		return slices.Clone(given), nil
	default:
		return text, nil
	}
}

// quoted shows what was given, cut where it gets long.
func quoted(text string) string {
	const most = 100
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return "'" + text + "'"
}

// stop ends the run and answers when it has ended.
func (s *Server) stop(w http.ResponseWriter, r *http.Request) error {
	controls := http.NewResponseController(w)
	// Users may take longer than any other answer to finish their tasks.
	_, _ = controls.SetReadDeadline(time.Time{}), controls.SetWriteDeadline(time.Time{})
	err := s.controller.Stop(r.Context())
	_ = controls.SetWriteDeadline(time.Now().Add(writeTimeout))
	s.requests.forget()
	answer := outcome{Success: true, Message: "Test stopped"}
	if err != nil {
		answer = outcome{Message: err.Error()}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (s *Server) resetStats(w http.ResponseWriter, _ *http.Request) error {
	s.controller.ResetStats()
	s.history.clear()
	s.requests.forget()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte("ok"))
	return nil
}

// updateUser changes attributes of a user class.
func (s *Server) updateUser(w http.ResponseWriter, r *http.Request) error {
	editor, ok := s.controller.(ClassEditor)
	if !ok {
		return &statusError{http.StatusNotImplemented, "user classes of this process cannot be changed while it runs"}
	}
	update, err := readClassUpdate(r)
	if err != nil {
		return err
	}
	plan := s.controller.Plan()
	if known := classNames(&plan); !slices.Contains(known, update.Name) {
		return &statusError{http.StatusBadRequest, fmt.Sprintf("Unknown user class %s; there are: %s", quoted(update.Name), strings.Join(known, ", "))}
	}
	if err := editor.UpdateClass(r.Context(), update); err != nil {
		return &statusError{http.StatusBadRequest, err.Error()}
	}
	writeJSON(w, http.StatusCreated, struct{}{})
	return nil
}

func readClassUpdate(r *http.Request) (ClassUpdate, error) {
	var fields map[string]json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&fields); err != nil {
		return ClassUpdate{}, badRequest("user", err)
	}
	update := ClassUpdate{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		var into any
		switch name {
		case "user_class_name":
			into = &update.Name
		case "weight":
			into = &update.Weight
		case "fixed_count":
			into = &update.FixedCount
		case "host":
			into = &update.Host
		case "tasks":
			into = &update.Tasks
		default:
			var value any
			into = &value
			if update.Attributes == nil {
				update.Attributes = map[string]any{}
			}
			if err := json.Unmarshal(fields[name], into); err != nil {
				return ClassUpdate{}, badRequest("user", err)
			}
			update.Attributes[name] = value
			continue
		}
		if err := json.Unmarshal(fields[name], into); err != nil {
			return ClassUpdate{}, badRequest("user: "+name, err)
		}
	}
	switch {
	case update.Weight != nil && *update.Weight < 0:
		return ClassUpdate{}, &statusError{http.StatusBadRequest, fmt.Sprintf("weight %v is negative", *update.Weight)}
	case update.FixedCount != nil && *update.FixedCount < 0:
		return ClassUpdate{}, &statusError{http.StatusBadRequest, fmt.Sprintf("fixed_count %d is negative", *update.FixedCount)}
	}
	return update, nil
}
