package nodes

import "spoor/cluster/audit"

// Gauges are the numbers of the cluster, as this node sees it.
func Gauges(c Cluster) map[string]func() float64 {
	replicas := func() audit.Counts {
		if v, ok := c.(interface{ Replicas() audit.Counts }); ok {
			return v.Replicas()
		}
		return audit.Counts{}
	}
	return map[string]func() float64{
		// Of comparisons of the replicas that this node led: how many there were, and how often one differed or was damaged.
		"spoor_cluster_comparisons":        func() float64 { return float64(replicas().Rounds) },
		"spoor_cluster_different_replicas": func() float64 { return float64(replicas().Different) },
		"spoor_cluster_repairs":            func() float64 { return float64(replicas().Repairs) },
		"spoor_cluster_is_leader":          func() float64 { return number(c.IsLeader()) },
		"spoor_cluster_has_leader":         func() float64 { id, _ := c.Leader(); return number(id != "") },
		"spoor_cluster_leader_silent_seconds": func() float64 {
			age, _ := c.LastContact()
			return age.Seconds()
		},
		// Of other members, on the leader; 0 elsewhere.
		"spoor_cluster_unreachable_nodes": func() float64 { return float64(c.Counts().Unreachable) },
		"spoor_cluster_stalled_nodes":     func() float64 { return float64(c.Counts().Stalled) },
		"spoor_cluster_max_lag_entries":   func() float64 { return float64(c.Counts().MaxLag) },
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
