package webapi

import "net/http"

// ratio is the share of users, or of a user's tasks, that something has.
type ratio struct {
	Ratio float64          `json:"ratio"`
	Tasks map[string]ratio `json:"tasks,omitempty"`
}

type ratios struct {
	PerClass map[string]ratio `json:"per_class"`
	Total    map[string]ratio `json:"total"`
}

func (s *Server) tasks(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, s.ratios())
	return nil
}

// ratios are by the users that run: per class with tasks as shares of their class, and in total with
// tasks as shares of everything.
func (s *Server) ratios() ratios {
	status, plan := s.controller.Status(), s.controller.Plan()
	all := ratios{PerClass: map[string]ratio{}, Total: map[string]ratio{}}
	users := status.Users()
	for _, class := range plan.Classes {
		share := 0.0
		if users > 0 {
			share = float64(status.UsersByClass[class.Name]) / float64(users)
		}
		all.PerClass[class.Name] = ratio{share, taskRatios(class.Tasks, 1, false)}
		all.Total[class.Name] = ratio{share, taskRatios(class.Tasks, share, true)}
	}
	return all
}

// taskRatios are by weight; parent is multiplied in when they are to be shares of everything.
func taskRatios(tasks []Task, parent float64, total bool) map[string]ratio {
	if len(tasks) == 0 {
		return nil
	}
	sum := 0
	for _, t := range tasks {
		sum += max(t.Weight, 1)
	}
	shares := make(map[string]ratio, len(tasks))
	for _, t := range tasks {
		share := float64(max(t.Weight, 1)) / float64(sum)
		if total {
			share *= parent
		}
		same := shares[t.Name] // two tasks of one name are one line
		shares[t.Name] = ratio{same.Ratio + share, taskRatios(t.Tasks, share, total)}
	}
	return shares
}
