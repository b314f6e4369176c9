package provider

// ForgetClient makes the next request read the client anew.
func (p *Provider) ForgetClient(id string) { p.clients.forget(id) }
