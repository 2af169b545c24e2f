package server

// RouteRoles lists the routes as "VERB PATH" with the name of the role that each
// needs; a star stands for a parameter.
func (s *Server) RouteRoles() map[string]string {
	out := map[string]string{}
	note := func(path string, rt *route) {
		for _, m := range rt.methods {
			out[m.verb+" "+path] = m.role.String()
		}
		if rt.open {
			out["OPTIONS "+path] = "open"
		}
	}
	for path, rt := range s.routes.exact {
		note(path, rt)
	}
	for _, p := range s.routes.prefix {
		note(p.path+"*"+p.suffix, p.route)
	}
	return out
}
