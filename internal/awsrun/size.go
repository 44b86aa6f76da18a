package awsrun

import (
	"fmt"
	"slices"
	"strings"
)

// Size is what a task gets. Zero values are those of the task definition.
type Size struct {
	CPU    int // units; 1024 are one vCPU
	Memory int // MB
}

// fargateSizes are the pairs that Fargate accepts on Linux (load-cli.md 6.6), by CPU units.
var fargateSizes = []struct{ cpu, least, most, step int }{
	{256, 512, 2048, 0}, // 512, 1024 and 2048
	{512, 1024, 4096, 1024},
	{1024, 2048, 8192, 1024},
	{2048, 4096, 16384, 1024},
	{4096, 8192, 30720, 1024},
	{8192, 16384, 61440, 4096},
	{16384, 32768, 122880, 8192},
}

// smallest are the memories of the smallest task, which are in no even steps.
var smallest = []int{512, 1024, 2048}

// Validate reports a pair that Fargate does not have, with those that it has.
func (s Size) Validate() error {
	for _, row := range fargateSizes {
		if row.cpu != s.CPU {
			continue
		}
		if row.step == 0 {
			if slices.Contains(smallest, s.Memory) {
				return nil
			}
			return fmt.Errorf("%d CPU units do not go with %d MB: want 512, 1024 or 2048 MB", s.CPU, s.Memory)
		}
		if s.Memory >= row.least && s.Memory <= row.most && (s.Memory-row.least)%row.step == 0 {
			return nil
		}
		return fmt.Errorf("%d CPU units do not go with %d MB: want %d to %d MB in steps of %d", s.CPU, s.Memory, row.least, row.most, row.step)
	}
	var units []string
	for _, row := range fargateSizes {
		units = append(units, fmt.Sprint(row.cpu))
	}
	return fmt.Errorf("%d CPU units are unknown to Fargate: want one of %s", s.CPU, strings.Join(units, ", "))
}

// Or fills zero values in.
func (s Size) Or(other Size) Size {
	if s.CPU == 0 {
		s.CPU = other.CPU
	}
	if s.Memory == 0 {
		s.Memory = other.Memory
	}
	return s
}

// VCPU is the number of virtual processors.
func (s Size) VCPU() float64 { return float64(s.CPU) / 1024 }

// GB is the memory in GB.
func (s Size) GB() float64 { return float64(s.Memory) / 1024 }
