package provider

// Forget makes the next check verify its token anew.
func (p *Provider) Forget() {
	p.opened.mu.Lock()
	defer p.opened.mu.Unlock()
	p.opened.ring = nil
}
