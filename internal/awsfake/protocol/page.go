package protocol

import "strconv"

// Page returns the part of a list that begins at a token of an earlier answer, with at most limit items
// (or standard, when the request names no limit), and the token of the next part, nil after the last.
// The list must keep its order between the calls.
func Page[T any](items []T, token *string, limit *int32, standard int) (page []T, next *string, err error) {
	start := 0
	if token != nil && *token != "" {
		if start, err = strconv.Atoi(*token); err != nil || start < 0 {
			return nil, nil, Errorf("InvalidParameterException", "Invalid token: %q.", *token)
		}
	}
	size := standard
	if limit != nil && *limit > 0 {
		size = int(*limit)
	}
	start = min(start, len(items))
	end := min(start+size, len(items))
	if end < len(items) {
		token := strconv.Itoa(end)
		next = &token
	}
	return items[start:end], next, nil
}
