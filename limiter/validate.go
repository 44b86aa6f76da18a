package limiter

import "unicode/utf8"

// snapshotName says whether a limit of this name would corrupt the usage snapshots, whose attributes are
// named after limits. A switch, because every acquire asks.
func snapshotName(name string) bool {
	switch name {
	case "entity_id", "resource", "window", "window_start", "total_events", "ttl",
		"PK", "SK", "GSI2PK", "GSI2SK", "GSI4PK", "GSI4SK":
		return true
	}
	return false
}

// registryName says whether a resource of this name would collide with the attributes of the registries.
func registryName(name string) bool {
	switch name {
	case "PK", "SK", "GSI4PK", "GSI4SK":
		return true
	}
	return false
}

func validateEntityID(field, id string) error {
	return validateText(field, id, maxID, alphanumeric, "_.-:@", "")
}

func validateResource(name string) error {
	if err := validateText("resource", name, maxName, letter, "_.-/:", ""); err != nil {
		return err
	}
	if registryName(name) {
		return invalid("resource", name, "is reserved")
	}
	return nil
}

func validateLimitName(name string) error {
	if err := validateText("limit name", name, maxName, letter, "_.-", WCU); err != nil {
		return err
	}
	if snapshotName(name) {
		return invalid("limit name", name, "is the name of an attribute of usage snapshots")
	}
	return nil
}

type byteClass uint8

const (
	letter byteClass = iota
	alphanumeric
)

// validateText applies the checks in the documented order: empty, length, '#', reserved, pattern.
func validateText(field, s string, most int, first byteClass, extra, reserved string) error {
	switch {
	case s == "":
		return invalid(field, s, "must not be empty")
	case len(s) > most && utf8.RuneCountInString(s) > most:
		if most == maxID {
			return invalid(field, s, "is longer than 256 characters")
		}
		return invalid(field, s, "is longer than 64 characters")
	}
	bad := false
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		case c >= '0' && c <= '9':
			bad = bad || i == 0 && first == letter
		case c == '#':
			return invalid(field, s, "must not contain '#'")
		default:
			bad = bad || i == 0 || !containsByte(extra, c)
		}
	}
	switch {
	case reserved != "" && s == reserved:
		return invalid(field, s, "is reserved")
	case bad && first == letter:
		return invalid(field, s, "must start with a letter and contain only letters, digits and "+extra)
	case bad:
		return invalid(field, s, "must start with a letter or digit and contain only letters, digits and "+extra)
	}
	return nil
}

func containsByte(s string, c byte) bool {
	for i := range len(s) {
		if s[i] == c {
			return true
		}
	}
	return false
}

// shownValue is how many characters of a value its error has.
const shownValue = 50

func invalid(field, value, reason string) *ValidationError {
	if len(value) > shownValue {
		if characters := []rune(value); len(characters) > shownValue {
			value = string(characters[:shownValue]) + "..."
		}
	}
	return &ValidationError{Field: field, Value: value, Reason: reason}
}
