// Package metadata asks the ECS agent what the task is that this process runs in (task metadata
// endpoint, version 4).
package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Variable holds the endpoint's URL in every container of a task.
const Variable = "ECS_CONTAINER_METADATA_URI_V4"

const (
	timeout = 5 * time.Second
	maxTask = 1 << 20 // bytes
)

// errNoAddress is about a task that others cannot reach.
var errNoAddress = errors.New("the task has no network interface of its own (network mode awsvpc)")

// TaskAddress returns the IPv4 address of the task: the first one of its first container in network mode
// awsvpc (load-cli.md 12.1). base is the value of Variable.
func TaskAddress(ctx context.Context, base string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	address, err := taskAddress(ctx, strings.TrimSuffix(base, "/")+"/task")
	if err != nil {
		return "", fmt.Errorf("address of the task: %w", err)
	}
	return address, nil
}

func taskAddress(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // never through a proxy
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", url, response.Status)
	}
	var task struct {
		Containers []struct {
			Networks []struct {
				NetworkMode   string
				IPv4Addresses []string
			}
		}
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxTask)).Decode(&task); err != nil {
		return "", fmt.Errorf("%s: %w", url, err)
	}
	for _, container := range task.Containers {
		for _, network := range container.Networks {
			if network.NetworkMode == "awsvpc" && len(network.IPv4Addresses) > 0 {
				return network.IPv4Addresses[0], nil
			}
		}
	}
	return "", errNoAddress
}
