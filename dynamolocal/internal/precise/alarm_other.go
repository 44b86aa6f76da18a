//go:build !linux

package precise

import "errors"

func newAlarm() (alarm, error) { return nil, errors.ErrUnsupported }
