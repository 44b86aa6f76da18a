package ecs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor time that Linux shows to programs.
const tick = time.Second / 100

// usageOf reads what a process uses, itself and the children that it has waited for; nothing for a
// process that is gone.
func usageOf(pid int) usage {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}
	}
	// The second field is the name in parentheses, which may hold anything; the rest are numbers.
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const user, childrenSystem, resident = 14 - 3, 17 - 3, 24 - 3 // as proc(5) counts, from the third on
	if len(fields) <= resident {
		return usage{}
	}
	var u usage
	for _, field := range fields[user : childrenSystem+1] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return usage{}
		}
		u.cpu += time.Duration(ticks) * tick
	}
	pages, err := strconv.ParseInt(fields[resident], 10, 64)
	if err != nil {
		return usage{}
	}
	u.memory = pages * int64(os.Getpagesize())
	return u
}
