package render

import "encoding/json"

// topSheets shows values with a bar for how often each occurs.
func topSheets(answer []byte) ([]sheet, error) {
	var t struct {
		Values []struct {
			Value value  `json:"value"`
			Other bool   `json:"other"`
			Count number `json:"count"`
			Users number `json:"users"`
		} `json:"values"`
	}
	if err := json.Unmarshal(answer, &t); err != nil {
		return nil, err
	}
	most := 0.0
	for _, v := range t.Values {
		if !v.Other {
			most = max(most, v.Count.value())
		}
	}
	columns := append(left("value"), right("count", "users")...)
	s := sheet{columns: append(columns, onlyIn(Table, left(""))...)}
	for _, v := range t.Values {
		first := v.Value.cell()
		if v.Other {
			first = cell{show: "(other)", raw: "other"}
		}
		s.rows = append(s.rows, []cell{first, v.Count.cell(), v.Users.cell(), shown(bar(v.Count.value()/most, barCells))})
	}
	return []sheet{s}, nil
}
