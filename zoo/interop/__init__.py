"""Trading weights with the world: safetensors files, and the layouts of Hugging Face."""
