package main

import (
	"sync"
	"time"
)

// Requests a second above which S3 answers SlowDown, as it does for each prefix of a bucket; 0: no limit.
type requestRate struct {
	mutex     sync.Mutex
	perSecond float64
	// Requests that may come at once: those of a tenth of a second.
	saved    float64
	last     time.Time
	refusals int
}

func (r *requestRate) set(perSecond float64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.perSecond, r.saved, r.last, r.refusals = perSecond, perSecond/10, time.Now(), 0
}

// Whether one more request is too many.
func (r *requestRate) exceeded() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.perSecond == 0 {
		return false
	}
	now := time.Now()
	r.saved = min(r.saved+now.Sub(r.last).Seconds()*r.perSecond, max(r.perSecond/10, 1))
	r.last = now
	if r.saved < 1 {
		r.refusals++
		return true
	}
	r.saved--
	return false
}

func (r *requestRate) refused() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.refusals
}
