"""Who is who: certificates, member lists, pins, signatures."""
