"""OpenAI's audio API on the page's port: the same jobs, the same engines, their answers in OpenAI's form.

Source: https://platform.openai.com/docs/api-reference/audio, as openai-python 3.57 has it.
"""
