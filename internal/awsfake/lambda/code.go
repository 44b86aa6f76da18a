package lambda

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// Limits of packages, in bytes.
const (
	maxZip      = 50 << 20
	maxUnpacked = 262144000
)

// store keeps a package and unpacks it, once for each content.
func (s *Service) store(config *types.FunctionConfiguration, data []byte) error {
	if len(data) > maxZip {
		return invalid("Zip file is larger than %d bytes", maxZip)
	}
	sum := sha256.Sum256(data)
	encoded := base64.StdEncoding.EncodeToString(sum[:])
	folder := s.folderOf(encoded)
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		if err := s.unpack(data, folder); err != nil {
			return err
		}
		if err := os.WriteFile(s.packageOf(encoded), data, 0o600); err != nil {
			return fmt.Errorf("keep a package: %w", err)
		}
	}
	config.CodeSha256, config.CodeSize = aws.String(encoded), int64(len(data))
	return nil
}

// folderOf is where a package is unpacked.
func (s *Service) folderOf(codeSHA256 string) string {
	sum, err := base64.StdEncoding.DecodeString(codeSHA256)
	if err != nil {
		return ""
	}
	return filepath.Join(s.config.Dir, hex.EncodeToString(sum))
}

func (s *Service) packageOf(codeSHA256 string) string { return s.folderOf(codeSHA256) + ".zip" }

// unpack fills a folder that is not there yet; what is half done has another name.
func (s *Service) unpack(data []byte, folder string) error {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return invalid("Could not unzip uploaded file. Please check your file, then try to upload again.")
	}
	var size uint64
	for _, file := range archive.File {
		size += file.UncompressedSize64
	}
	if size > maxUnpacked {
		return invalid("Unzipped size must be smaller than %d bytes", maxUnpacked)
	}
	temporary, err := os.MkdirTemp(s.config.Dir, "unpacking-")
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer os.RemoveAll(temporary)
	for _, file := range archive.File {
		if err := unpackFile(file, temporary); err != nil {
			return fmt.Errorf("unpack %s: %w", file.Name, err)
		}
	}
	if err := os.Rename(temporary, folder); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}

func unpackFile(file *zip.File, folder string) error {
	if !filepath.IsLocal(filepath.FromSlash(file.Name)) {
		return errors.New("the name leaves the folder")
	}
	path := filepath.Join(folder, filepath.FromSlash(file.Name))
	if file.FileInfo().IsDir() {
		return os.MkdirAll(path, 0o700)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	in, err := file.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, file.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
