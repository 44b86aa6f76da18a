//go:build unix

package awsfake

import (
	"errors"
	"os"
	"syscall"
)

// lockFile opens a file that no other process may lock meanwhile; the lock goes with the file, and with
// this process. It is ErrBusy when another one has it.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
