package awsfake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// place is where the cloud was reached, kept because the addresses of images begin with it.
type place struct {
	Port int `json:"port"`
}

const (
	placeFile = "cloud.json"
	lockName  = "lock" // is locked while a process has the folder
)

// readPlace returns the port of the last run, 0 when there was none.
func readPlace(dir string) (int, error) {
	data, err := os.ReadFile(filepath.Join(dir, placeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var p place
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		return 0, fmt.Errorf("state folder: %w", err)
	}
	return p.Port, nil
}

// load gives each part what an earlier run kept of it.
func (c *Cloud) load() error {
	for _, p := range c.parts {
		if p.load == nil {
			continue
		}
		data, err := os.ReadFile(c.stateFile(p))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = p.load(data)
		}
		if err != nil {
			return fmt.Errorf("state of %s: %w", p.name, err)
		}
	}
	return nil
}

// save keeps each part for the next run.
func (c *Cloud) save() error {
	data, err := json.Marshal(place{Port: c.port})
	if err != nil {
		return err
	}
	errs := []error{writeFile(filepath.Join(c.dir, placeFile), data)}
	for _, p := range c.parts {
		if p.save == nil {
			continue
		}
		data, err := p.save()
		if err == nil {
			err = writeFile(c.stateFile(p), data)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("state of %s: %w", p.name, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Cloud) stateFile(p part) string { return filepath.Join(c.dir, p.name+".json") }

// writeFile replaces a file as a whole. It may hold secret keys.
func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
