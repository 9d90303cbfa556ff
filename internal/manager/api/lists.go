package api

import "hitoku.dev/internal/manager"

// Listing are the parameters of every list. It is exported since huma passes over embedded types that are not.
type Listing struct {
	Limit     int    `query:"limit" minimum:"0" maximum:"1000" doc:"how many items, at most"`
	Offset    int    `query:"offset" minimum:"0" doc:"how many items to pass over"`
	SortBy    string `query:"sort_by" doc:"key:ASC or key:DESC, several with commas" maxLength:"256"`
	AllSearch string `query:"all_search" doc:"text to search for" maxLength:"256"`
	Filter    string `query:"filter" doc:"JSON object of keys and values that items must have; a list of values wants one of them" maxLength:"65536"`
}

func (l *Listing) options() manager.ListOptions {
	return manager.ListOptions{Limit: l.Limit, Offset: l.Offset, SortBy: l.SortBy, AllSearch: l.AllSearch, Filter: l.Filter}
}
