"""Put a real server under load: many clients, kills, large pools."""
